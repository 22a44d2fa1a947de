"""import_: what a kill leaves, several at once, a full disk."""

import errno
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from files import GREY, save_image

from reparam.data import import_, importing, listing, load_data, unfinished


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))
    np.save(tmp_path / "x.npy", GREY)
    for number in range(2):
        save_image(tmp_path / "images" / f"{number}.png", GREY[number])
    return tmp_path / "cache"


KILLED = """
import importlib, os, signal, sys
importing = importlib.import_module("reparam.data.importing")
importing.read_images = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
importing.import_(sys.argv[1], "mine")
"""


def test_what_a_killed_import_left_is_removed_by_the_next_one(tmp_path, cache):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "images")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, check=False)
    if os.name == "posix":
        assert done.returncode == -signal.SIGKILL
    assert [path.name for path in (cache / "imported").iterdir()] == [".mine.part"]
    assert (cache / "imported" / ".mine.part" / "train.npy").exists()
    assert not {"mine", ".mine.part"} & {listed.name for listed in listing()}
    with pytest.raises(ValueError, match="there are no data named 'mine'"):
        load_data("mine")
    with pytest.warns(UserWarning, match="an import of mine had broken off; what it left is removed"):
        import_(tmp_path / "x.npy", "mine")
    assert [path.name for path in (cache / "imported").iterdir()] == ["mine"]
    assert len(load_data("mine").train) == 45


def test_a_link_in_the_place_of_an_unfinished_import_is_not_followed(tmp_path, cache):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.npy").write_text("mine")
    (cache / "imported").mkdir(parents=True)
    (cache / "imported" / ".mine.part").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match=r"imported/mine cannot be written \(File exists\)"):
        import_(tmp_path / "x.npy", "mine")
    assert (tmp_path / "other" / "train.npy").read_text() == "mine"


def test_of_three_imports_at_once_one_is_made_and_the_others_say_why_not(tmp_path, monkeypatch):
    together, started, real = threading.Barrier(3), [], importing._write_parts
    others = threading.Event()

    def slow(*arguments, **options):
        started.append(1)
        assert others.wait(10)
        real(*arguments, **options)

    monkeypatch.setattr(importing, "_write_parts", slow)
    found = []

    def one():
        together.wait(10)
        try:
            found.append(import_(tmp_path / "x.npy", "mine"))
        except FileExistsError as error:
            found.append(str(error))
            if len(found) == 2:
                others.set()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert found[:2] == ["mine is being imported by another process. Wait for it, or choose another name."] * 2
    assert found[2].train == 50
    assert len(load_data("mine").train) == 45


def test_imports_of_two_names_do_not_wait_for_each_other(tmp_path, cache):
    with unfinished.importing(cache / "imported" / "one"):
        import_(tmp_path / "x.npy", "two")
    assert [path.name for path in (cache / "imported").iterdir()] == ["two"]


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def partly(*arguments, **options):
    raise OSError("600 requested and 0 written")  # what numpy says


@pytest.mark.parametrize(
    ("source", "target", "broken", "words"),
    [
        ("x.npy", "numpy.save", full, "No space left on device"),
        ("x.npy", "numpy.save", partly, "600 requested and 0 written"),
        ("images", "numpy.lib.format.open_memmap", full, "No space left on device"),
        ("images", "os.posix_fallocate", full, "No space left on device"),
        ("x.npy", "pathlib.Path.rename", full, "No space left on device"),
        ("x.npy", "pathlib.Path.mkdir", full, "No space left on device"),
    ],
)
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path, cache, monkeypatch, source, target, broken, words):
    """Writing to a mapped file on a full disk is a SIGBUS, so the room is taken before."""
    monkeypatch.setattr(target, broken, raising=False)
    with pytest.raises(
        OSError, match=rf"imported/mine cannot be written \({words}\); nothing of it is left\. Make room"
    ):
        import_(tmp_path / source, "mine")
    monkeypatch.undo()
    assert not (cache / "imported").exists() or list((cache / "imported").iterdir()) == []


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_takes_no_room_beforehand_is_written_all_the_same(tmp_path, monkeypatch, code):
    def unknown(*arguments):
        raise OSError(code, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    assert import_(tmp_path / "images", "mine").train == 2
