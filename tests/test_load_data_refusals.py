"""load_data: what is said of a source that cannot be read, or not so."""

import gzip

import numpy as np
import pytest
from files import GREY, RANDOM, idx, save_image

from reparam.data import load_data
from reparam.data.idx import read_idx


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


REFUSED = [
    (lambda _: load_data("fashon-mnist"), ValueError, "no data named 'fashon-mnist'. Did you mean 'fashion-mnist'"),
    (lambda _: load_data("zzz"), ValueError, "no data named 'zzz'. There are: mnist, .*or give a path"),
    (lambda _: load_data("fashion-mnist"), FileNotFoundError, "fashion-mnist is not here: .*Run `reparam data fetch fashion-mnist`"),
    (lambda path: load_data(path / "gone.npy"), FileNotFoundError, "gone.npy does not exist. Restore it"),
    (lambda path: load_data(f"{path}/gone"), FileNotFoundError, "gone does not exist"),
    (lambda _: load_data("mnist", "gray"), ValueError, "protocol is 'gray'; it must be one of 'grey'"),
    (lambda _: load_data("mnist", "static"), ValueError, r"'static' for mnist; .*load_data\('static-mnist', 'static'\)"),
    (lambda _: load_data("static-mnist"), ValueError, r"'grey' for static-mnist; .*load_data\('static-mnist', 'static'\)"),
    (lambda _: load_data("mnist", test=5), ValueError, "test is 5; mnist has a test part of 10000 already"),
    (lambda _: load_data("mnist", shape=783), ValueError, r"shape is \(783,\), 783 numbers; mnist holds .*\(28, 28\), 784"),
    (lambda _: load_data("mnist", resize=14), ValueError, "resize is .*only omniglot"),
    (lambda _: load_data("mnist", colour="rgb"), ValueError, "colour are for files and folders of yours"),
    (lambda path: load_data(path / "grey.npy", resize=(1, 2, 3)), ValueError, "must be .height, width. or one number"),
    (lambda path: load_data(path / "grey.npy", resize=2), ValueError, "resize and colour are for folders of images"),
    (lambda path: load_data(path / "grey.npy", colour="red"), ValueError, "colour is 'red'"),
    (lambda path: load_data(path / "grey.npy", array="x"), ValueError, "array is 'x'; only an .npz"),
    (lambda path: load_data(path / "grey.npy", test=50), ValueError, "test is 50 of 50 examples; nothing is left"),
    (lambda path: load_data(path / "grey.npy", validation=45), ValueError, "validation is 45 of 45 training"),
    (lambda path: load_data(path / "grey.npy", "static"), ValueError, "grey.npy holds .*; bits are 0 and 1"),
    (lambda path: load_data(path / "bits.npy"), ValueError, 'bits.npy holds 0 and 1 as uint8.*choose the protocol "static"'),
    (lambda path: load_data(path / "numbers.npy"), ValueError, r"holds values from -3 to 3; under the protocol 'grey' .*\"as given\""),
    (lambda path: load_data(path / "whole.npy"), TypeError, "whole.npy holds int64; it must hold uint8"),
    (lambda path: load_data(path / "complex.npy"), TypeError, "complex.npy holds complex128"),
    (lambda path: load_data(path / "text.npy"), TypeError, "text.npy holds <U1"),
    (lambda path: load_data(path / "row.npy"), ValueError, r"row.npy holds an array of shape \(3,\)"),
    (lambda path: load_data(path / "objects.npy"), TypeError, "objects.npy holds an array of Python objects.* unpickled"),
    (lambda path: load_data(path / "objects.npz"), ValueError, "objects.npz holds an array of Python objects.* unpickled"),
    (lambda path: load_data(path / "cut.npy"), ValueError, r"cut.npy is truncated: .* takes 600 bytes .*there are 590"),
    (lambda path: load_data(path / "header.npy"), ValueError, "header.npy is damaged or no .npy file"),
    (lambda path: load_data(path / "cut.npz"), ValueError, "cut.npz cannot be read as an archive of arrays"),
    (lambda path: load_data(path / "several.npz"), ValueError, "several.npz holds a, b. .*by array="),
    (lambda path: load_data(path / "several.npz", array="c"), ValueError, "several.npz has no array c; there are a, b"),
    (lambda path: load_data(path / "unlike.npz"), ValueError, r"training examples of shape \(12,\) and test .*\(6,\)"),
    (lambda path: load_data(path / "cut.gz"), ValueError, "cut.gz is damaged: its gzip stream breaks off.* another file"),
    (lambda path: load_data(path / "table.csv"), ValueError, "table.csv holds 'x' in row 2, column number 1; every value"),
    (lambda path: load_data(path / "empty"), ValueError, "empty holds no images. Expected: files ending in .bmp"),
    (lambda path: load_data(path / "sizes"), ValueError, r"sizes/\w.png is \d x \d pixels; .* is \d x \d. Give a size"),
    (lambda path: load_data(path / "colour"), ValueError, r"colour/1.png is in colour; grey is expected. Pass colour=\"rgb\""),
    (lambda path: load_data(path / "clear", colour="rgb"), ValueError, "clear/1.png has transparency"),
    (lambda path: load_data(path / "deep"), ValueError, "deep/1.png has pixels 'I;16'"),
    (lambda path: load_data(path / "broken"), ValueError, r"broken/\d.png is a broken image, or none"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_refusals_give_the_value_the_rule_and_the_remedy_in_one_line(tmp_path, act, error, message):
    np.save(tmp_path / "grey.npy", GREY)
    np.save(tmp_path / "bits.npy", (GREY > 127).astype(np.uint8))
    np.save(tmp_path / "numbers.npy", np.array([[-3.0], [3.0]] * 5))
    np.save(tmp_path / "whole.npy", GREY.astype(np.int64))
    np.save(tmp_path / "complex.npy", GREY * 1j)
    np.save(tmp_path / "text.npy", np.full((3, 2), "a"))
    np.save(tmp_path / "row.npy", np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([[{}]], dtype=object))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "grey.npy").read_bytes()[:-10])
    (tmp_path / "header.npy").write_bytes((tmp_path / "grey.npy").read_bytes()[:40])
    np.savez(tmp_path / "several.npz", a=GREY, b=GREY)
    np.savez(tmp_path / "unlike.npz", train=GREY, test=GREY[:, :2])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "several.npz").read_bytes()[:-100])
    (tmp_path / "cut.gz").write_bytes(gzip.compress(idx(GREY))[:-20])
    (tmp_path / "table.csv").write_text("1,2\n3,x\n")
    (tmp_path / "empty").mkdir()
    save_image(tmp_path / "sizes" / "a.png", GREY[0])
    save_image(tmp_path / "sizes" / "b.png", GREY[0, :2])
    save_image(tmp_path / "colour" / "1.png", GREY[:, :3, :3])
    save_image(
        tmp_path / "clear" / "1.png",
        np.dstack([GREY[:, :3, :3], np.where(GREY[:, :3, 0] > 9, 255, 9)]).astype(np.uint8),
    )
    save_image(tmp_path / "deep" / "1.png", GREY[0].astype(np.uint16))
    save_image(tmp_path / "broken" / "1.png", RANDOM.integers(0, 256, (40, 40), np.uint8))
    content = (tmp_path / "broken" / "1.png").read_bytes()
    (tmp_path / "broken" / "1.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(error, match=message) as caught:
        act(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_idx_file_of_ones_own_is_not_mended_by_an_installation(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot be read.*give the path of another file"):
        read_idx(tmp_path / "gone-ubyte")
