"""Files are read and written safely: regular ones only, never through a link, whole or not at all."""

import errno
import os

import pytest
import torch

import reparam as rp
from reparam import _files
from reparam._files import open_own, open_regular, read_object, remove_unfinished, write_whole
from reparam.data import load_data
from reparam.training.checkpoint import DamagedCheckpoint, read_checkpoint
from reparam.training.run import Folder, Run

posix = pytest.mark.skipif(os.name != "posix", reason="named pipes and devices are files of POSIX systems")
READERS = {
    **dict.fromkeys(("x.npy", "x.npz", "x.amat", "x-ubyte", "x.gz", "x.csv", "x.safetensors", "x.h5ad"), load_data),
    "experiment.json": read_object,
    "best.safetensors": read_checkpoint,
}


def put(kind, path):
    """A named pipe, or a link to a device that never ends."""
    if kind == "a named pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


@posix
@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_are_read(tmp_path, name, kind):
    """A pipe that nobody writes to would be waited for, /dev/zero would be read until memory is full."""
    path = tmp_path / name
    put(kind, path)
    with pytest.raises((ValueError, DamagedCheckpoint), match=f"{path} is {kind}; only regular files are read"):
        READERS[name](path)


@posix
@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
@pytest.mark.parametrize("inside", ["1.png", "train-images-idx3-ubyte.gz", "train.npy"])
def test_what_is_no_file_in_a_folder_of_data_is_left_out_and_counted(tmp_path, inside, kind):
    """A link with the name of an image is one that may be broken, so it is looked at and named."""
    put(kind, tmp_path / inside)
    left_out = f"{tmp_path} holds no images, but 1 other files, such as {inside}"
    linked = inside == "1.png" and kind == "a device"
    with pytest.raises(ValueError, match="1.png is a device; only regular files are read" if linked else left_out):
        load_data(tmp_path)


@pytest.mark.parametrize("name", ["experiment.json", "best.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_said(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises((ValueError, DamagedCheckpoint), match="is a folder; only regular files are read"):
        READERS[name](tmp_path / name)


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    assert read_object(tmp_path / "b.json") == {}
    with open_regular(tmp_path / "b.json") as file:
        assert file.read() == b"{}"


def test_a_record_larger_than_any_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "LARGEST_JSON", 2**20)
    (tmp_path / "a.json").write_text("{}" + " " * 2**20)
    with pytest.raises(ValueError, match="has more than 1 MiB, and is no file of a run"):
        read_object(tmp_path / "a.json")


def test_a_temporary_name_is_never_one_that_is_there(tmp_path, monkeypatch):
    """Whoever can write in the folder could put a link there under a name that is known before."""
    (tmp_path / "mine").write_text("mine")
    names = iter(["0" * 16, "1" * 16])
    monkeypatch.setattr(_files.secrets, "token_hex", lambda size: next(names))
    (tmp_path / f".reparam-{'0' * 16}.part").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=r"a\.txt cannot be written \(File exists\)"):
        write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / f".reparam-{'0' * 16}.part").is_symlink()
    write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_writing_replaces_a_link_and_not_its_target(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a.png").symlink_to(tmp_path / "mine")
    rp.save_image_grid(tmp_path / "a.png", torch.rand(1, 4, 4))
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "a.png").is_symlink()


@pytest.mark.parametrize("broken", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_breaks_off_leaves_the_old_file_alone(tmp_path, monkeypatch, broken):
    (tmp_path / "a").write_text("old")

    def fail(handle):
        raise broken

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(broken)):
        write_whole(tmp_path / "a", b"new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


@posix
def test_a_folder_that_cannot_be_synced_is_said_and_the_file_is_there(tmp_path, monkeypatch):
    """Some network file systems refuse to sync folders; the file is on the disk, and has its name."""
    real = os.fsync

    def without_folders(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}") or not os.fstat(handle).st_size:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", without_folders)
    with pytest.warns(UserWarning, match=r"cannot be synced \(Invalid argument\): its files are written, but a power"):
        write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_a_killed_write_left_is_removed_with_the_runs_next_opening(tmp_path):
    folder = tmp_path / "run"
    Folder(Run(folder), {"model": None}).close()
    left = [folder / ".reparam-0123.part", folder / "checkpoints" / ".reparam-4567.part"]
    mine = [folder / "thesis.part", folder / "checkpoints" / ".mine.part"]
    for path in (*left, *mine):
        path.write_text("half")
    same = dict.fromkeys(("model", "estimator", "data", "training"))
    Folder(Run(folder, resume=True), same).close()
    assert [path.exists() for path in (*left, *mine)] == [False, False, True, True]
    remove_unfinished(tmp_path / "nowhere")


@posix
@pytest.mark.parametrize("kind", ["link", "dangling link", "named pipe"])
def test_metrics_are_appended_to_the_runs_own_file_alone(tmp_path, kind):
    folder = tmp_path / "run"
    Folder(Run(folder), {"model": None}).close()
    (folder / "metrics.jsonl").unlink()
    (tmp_path / "mine").write_text("mine\n")
    if kind == "named pipe":
        os.mkfifo(folder / "metrics.jsonl")
    else:
        (folder / "metrics.jsonl").symlink_to(tmp_path / ("mine" if kind == "link" else "nothing"))
    same = dict.fromkeys(("model", "estimator", "data", "training"))
    with pytest.raises(ValueError, match=rf"metrics\.jsonl is a {kind.split()[-1] if 'link' in kind else kind}"):
        Folder(Run(folder, resume=True), same)
    assert (tmp_path / "mine").read_text() == "mine\n"
    assert not (tmp_path / "nothing").exists()


@posix
def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=r"the run folder .*run cannot be written \(.*symbolic links\); choose another"):
        Folder(Run(tmp_path / "run"), {})
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_link_that_appears_after_the_look_is_not_followed_either(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "mine")
    monkeypatch.setattr("pathlib.Path.is_symlink", lambda path: False)
    if hasattr(os, "O_NOFOLLOW"):
        with pytest.raises(OSError, match="symbolic link"):
            open_own(tmp_path / "a", "a")
    assert (tmp_path / "mine").read_text() == "mine"
