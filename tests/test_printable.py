"""Names from the user's disk and from files reach a terminal only where they are escaped."""

import os
import re

import numpy as np
import pytest
from files import GREY

import reparam as rp
from reparam._printable import printable
from reparam.data import load_data
from reparam.training.run import Folder, Run

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")


def test_what_a_terminal_would_obey_is_escaped():
    assert printable("a\x1b[31m\x9b2J\x07\r\n\tb\x7f") == r"a\x1b[31m\x9b2J\x07\r\n\tb\x7f"
    assert printable("gnp\u202etxt\u2066\u200f\u061c\u2028") == r"gnp\u202etxt\u2066\u200f\u061c\u2028"
    assert printable("bad\udcff") == r"bad\udcff"
    assert (
        printable("Zahlen äöü 数字 🙂 \N{ARABIC LETTER BEH}\N{ZERO WIDTH NON-JOINER}")
        == "Zahlen äöü 数字 🙂 \N{ARABIC LETTER BEH}\N{ZERO WIDTH NON-JOINER}"
    )


EVIL = "a\x1b[2J\u202eb"


@posix
def test_errors_of_data_escape_the_names_in_them(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / f"{EVIL}.png").write_bytes(b"none")
    np.savez(tmp_path / "x.npz", **{EVIL: GREY, "b": GREY})
    (tmp_path / f"{EVIL}.npy").write_bytes(b"none")
    acts = [
        lambda: load_data(tmp_path / "x"),
        lambda: load_data(tmp_path / "x.npz"),
        lambda: load_data(tmp_path / f"{EVIL}.npy"),
        lambda: load_data(tmp_path / EVIL),
        lambda: rp.data.info(tmp_path / "x"),
        lambda: rp.data.import_(tmp_path / "x", "mine"),
        lambda: rp.load(tmp_path / EVIL),
    ]
    for act in acts:
        with pytest.raises((ValueError, OSError)) as caught:
            act()
        error = caught.value
        assert r"a\x1b[2J\u202eb" in str(error)
        while error is not None:
            assert not re.search("[\x1b\u202e]", str(error))
            error = error.__cause__


def test_errors_of_a_run_escape_what_is_in_its_folder(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / EVIL).write_text("mine")
    with pytest.raises(ValueError, match=r"there is a\\x1b\[2J\\u202eb"):
        Folder(Run(tmp_path / "x"), {})
