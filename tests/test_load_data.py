"""load_data: every kind of source under every protocol."""

import dataclasses
import gzip
import hashlib
import importlib
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from files import GREY, RANDOM, idx, save_image
from PIL import Image

import reparam as rp
from reparam.data import checksum, import_, info, listing, load_data
from reparam.data.images import scattered
from reparam.data.sources import SOURCES, RemoteFile

published = importlib.import_module("reparam.data.published")
checksums = importlib.import_module("reparam.data.checksum")
readers = importlib.import_module("reparam.data.readers")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rows(data):
    return data.values.numpy().reshape(len(data), -1)


def test_the_name_mnist_is_the_function_mnist():
    for protocol in ("grey", "dynamic", "threshold"):
        named, made = load_data("mnist", protocol, validation=10_000), rp.mnist(protocol, validation=10_000)
        assert checksum(named) == checksum(made)
        assert torch.equal(named.test.labels, made.test.labels)
    assert load_data("mnist", shape=(1, 28, 28)).train[:2].shape == (2, 1, 28, 28)


def test_the_last_rows_are_the_test_and_those_before_them_the_validation(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    data = load_data(tmp_path / "x.npy", validation=7)
    assert [len(part) for part in data.parts().values()] == [38, 7, 5]
    assert np.array_equal(np.concatenate([rows(part) for part in data.parts().values()]), GREY.reshape(50, -1))
    assert len(load_data(str(tmp_path / "x.npy"), test=20).train) == 30
    np.save(tmp_path / "long.npy", np.full((200_000, 1), 9, np.uint8))
    assert len(load_data(tmp_path / "long.npy").test) == 10_000
    assert load_data(tmp_path / "x.npy").validation is None


@pytest.mark.parametrize("kind", ["npy", "npz", "named", "split", "idx", "idx.gz", "folder", "arrays", "images"])
def test_every_kind_of_source_gives_the_same_examples(tmp_path, kind):
    path, options = tmp_path / f"x.{kind}", {}
    divided = kind in ("split", "folder", "arrays")
    if kind == "npy":
        np.save(path, GREY)
    elif kind in ("npz", "named"):
        path = tmp_path / "x.npz"
        np.savez(path, pixels=GREY, **({"other": np.zeros(3)} if kind == "named" else {}))
        options = {"array": "pixels"} if kind == "named" else {}
    elif kind == "split":
        path = tmp_path / "x.npz"
        np.savez_compressed(path, train=GREY[:30], valid=GREY[30:40], test=GREY[40:])
    elif kind.startswith("idx"):
        path.write_bytes(gzip.compress(idx(GREY)) if kind.endswith("gz") else idx(GREY))
    elif kind == "folder":
        path.mkdir()
        for name, part in (("train", GREY[:40]), ("t10k", GREY[40:])):
            (path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(part)))
            (path / f"{name}-labels-idx1-ubyte.gz").write_bytes(
                gzip.compress(idx(np.arange(len(part), dtype=np.uint8)))
            )
    elif kind == "arrays":
        path.mkdir()
        np.save(path / "train.npy", GREY[:40])
        np.save(path / "test.npy", GREY[40:])
    else:
        names = scattered(f"{'ab'[i % 2]}/{i}.png" for i in range(50))
        for name, pixels in zip(names, GREY, strict=True):
            save_image(path / name, pixels)
        (path / "readme.txt").write_text("no image")
        save_image(path / ".hidden" / "x.png", GREY[0])
    data = load_data(path, validation=5, shape=(1, 4, 3), **options, **({} if divided else {"test": 10}))
    assert [len(part) for part in data.parts().values()] == [35, 5, 10]
    assert np.array_equal(np.concatenate([rows(part) for part in data.parts().values()]), GREY.reshape(50, -1))
    assert data.test[:2].shape == (2, 1, 4, 3)
    assert data.train.protocol == "grey"
    if kind == "folder":
        assert data.validation.labels.tolist() == [35, 36, 37, 38, 39]
        assert data.test.labels.tolist() == list(range(10))


def test_the_images_of_a_folder_come_in_the_order_of_the_hashes_of_their_names():
    assert scattered("abcdef") == list("dfcbea")


def test_the_protocols_of_any_source(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    grey = load_data(tmp_path / "x.npy")
    threshold, dynamic = (
        load_data(tmp_path / "x.npy", protocol, validation=5) for protocol in ("threshold", "dynamic")
    )
    assert torch.equal(threshold.train[:40], (grey.train[:40] > 0.5).float())
    assert torch.equal(dynamic.test[:5], grey.test.binarized(20261122)[:5])
    assert dynamic.test.protocol == dynamic.validation.protocol == "static"
    assert not torch.equal(dynamic.train[:40], dynamic.train[:40])
    numbers = RANDOM.normal(size=(20, 3))
    np.save(tmp_path / "numbers.npy", numbers)
    assert np.allclose(load_data(tmp_path / "numbers.npy", "as given").train[:18], numbers[:18])


def test_bits_of_every_type_are_static(tmp_path):
    bits = RANDOM.integers(0, 2, (20, 6))
    for values in (bits, bits > 0, bits.astype(np.uint8), bits.astype(np.uint8) * 255, bits.astype(np.float32)):
        np.save(tmp_path / "x.npy", values)
        assert np.array_equal(load_data(tmp_path / "x.npy", "static").train[:18], bits[:18])


def test_images_in_colour_and_of_other_sizes(tmp_path):
    red = np.zeros((8, 6, 3), np.uint8)
    red[..., 0] = 200
    for i in range(4):
        save_image(tmp_path / "x" / f"{i}.png", red)
    save_image(tmp_path / "x" / "grey.png", np.full((16, 12), 200, np.uint8))
    data = load_data(tmp_path / "x", colour="rgb", resize=(8, 6), shape=(3, 8, 6), test=1)
    values = torch.cat([data.train.values, data.test.values]).sum(0)
    assert values[0].unique().tolist() == [5 * 200]
    assert values[1].unique().tolist() == values[2].unique().tolist() == [200]
    assert load_data(tmp_path / "x", colour="rgb", resize=2).train.values.shape == (4, 12)
    for part in ("train", "test"):
        shutil.copytree(tmp_path / "x", tmp_path / "y" / part)
    assert [len(part) for part in load_data(tmp_path / "y", colour="rgb", resize=4).parts().values()] == [5, 5]


def test_a_checksum_tells_data_apart_and_knows_them_again(tmp_path, monkeypatch):
    x = torch.arange(60, dtype=torch.uint8).reshape(20, 3)
    known = checksum(rp.Data(x, "grey"))
    assert known.startswith("sha256:")
    other = x.clone()
    other[11, 1] += 1
    for values in (other, x.reshape(10, 6), x.float() / 255, x[:19]):
        assert checksum(rp.Data(values, "grey")) != known
    assert checksum(rp.Data(x.clone(), "dynamic")) == known
    splits = rp.data.Splits(rp.Data(x[:10], "grey"), None, rp.Data(x[10:], "grey"))
    assert checksum(splits) == checksum(dataclasses.replace(splits))
    assert checksum(splits) != checksum(dataclasses.replace(splits, validation=rp.Data(x, "grey")))
    monkeypatch.setattr(checksums, "WHOLE_UP_TO", 2**20)
    large = torch.zeros(200_000, 16, dtype=torch.uint8)
    whole = checksum(rp.Data(large, "grey"))
    assert whole.startswith("sha256-of-blocks:")
    monkeypatch.setattr(checksums, "BLOCK_BYTES", 2**10)
    for row in (0, 199_999):
        changed = large.clone()
        changed[row] = 9
        assert checksum(rp.Data(changed, "grey")) != checksum(rp.Data(large, "grey"))


def stand_in(monkeypatch, cache, name, files):
    """Published data of this name which are these files."""
    (cache / SOURCES[name].folder).mkdir(parents=True)
    remote = []
    for file, content in files.items():
        (cache / SOURCES[name].folder / file).write_bytes(content)
        remote.append(RemoteFile(file, hashlib.sha256(content).hexdigest(), len(content), ()))
    monkeypatch.setitem(SOURCES, name, dataclasses.replace(SOURCES[name], files=tuple(remote)))


def test_fetched_idx_files_are_loaded_by_name(monkeypatch, cache):
    files = {
        file.name: gzip.compress(idx(GREY if "images" in file.name else np.arange(50, dtype=np.uint8)))
        for file in SOURCES["kmnist"].files
    }
    stand_in(monkeypatch, cache, "kmnist", files)
    data = load_data("kmnist", "dynamic", validation=10)
    assert np.array_equal(rows(data.train), GREY.reshape(50, -1)[:40])
    assert data.test.labels[-1] == 49
    path = cache / "kmnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz is damaged: .*Run `reparam data fetch kmnist`"):
        load_data("kmnist")


def test_emnist_is_upright_and_has_its_parts_by_name(monkeypatch, cache):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for part, images in (("balanced", GREY[:20]), ("letters", GREY[20:])):
            for which in ("train", "test"):
                out.writestr(f"gzip/emnist-{part}-{which}-images-idx3-ubyte.gz", gzip.compress(idx(images)))
                labels = np.arange(len(images), dtype=np.uint8)
                out.writestr(f"gzip/emnist-{part}-{which}-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))
    for name in ("emnist", "emnist-letters"):
        stand_in(monkeypatch, cache / name, name, {"gzip.zip": archive.getvalue()})
        monkeypatch.setenv("REPARAM_DATA", str(cache / name))
        images = GREY[:20] if name == "emnist" else GREY[20:]
        assert np.array_equal(load_data(name, shape=(3, 4)).train.values, images.transpose(0, 2, 1))
        assert load_data(name).test.labels.tolist() == list(range(len(images)))


def test_omniglot_is_ink_of_28_pixels_with_characters_as_labels(monkeypatch, cache):
    files = {}
    for name, characters in (("images_background", 3), ("images_evaluation", 2)):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as out:
            for i in range(characters * 4):
                image, pixels = io.BytesIO(), np.full((105, 105), 255, np.uint8)
                pixels[: 15 * (i // 4 + 1)] = 0
                Image.fromarray(pixels).convert("1").save(image, "PNG")
                out.writestr(f"{name}/Greek/character{i // 4:02d}/{i}.png", image.getvalue())
        files[f"{name}.zip"] = archive.getvalue()
    stand_in(monkeypatch, cache, "omniglot", files)
    data = load_data("omniglot", shape=(28, 28))
    assert data.train.values.shape == (12, 28, 28)
    assert data.test.values.shape == (8, 28, 28)
    assert sorted(data.train.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    assert sorted(data.test.labels.tolist()) == [3] * 4 + [4] * 4
    for part, first in ((data.train, 0), (data.test, 3)):
        ink = part[: len(part)].mean((1, 2))
        torch.testing.assert_close(ink, (part.labels - first + 1) * 15 / 105, atol=5e-3, rtol=0)
    assert load_data("omniglot", resize=105).train.values.unique().tolist() == [0, 255]


def test_static_mnist_is_read_from_its_text(monkeypatch, cache):
    bits = RANDOM.integers(0, 2, (9, 784))
    text = ["\n".join(" ".join(map(str, row)) + " " for row in part) + "\n" for part in (bits[:5], bits[5:7], bits[7:])]
    stand_in(
        monkeypatch,
        cache,
        "static-mnist",
        {file.name: part.encode() for file, part in zip(SOURCES["static-mnist"].files, text, strict=True)},
    )
    data = load_data("static-mnist", "static", validation=2)
    assert np.array_equal(data.train[:5], bits[:5])
    assert np.array_equal(data.validation[:2], bits[5:7])
    assert np.array_equal(data.test[:2], bits[7:])
    path = cache / "x.amat"
    for content in (text[0][:-800], "0 1\n0 2\n", ""):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"x.amat is damaged: it must hold lines of 0 and 1"):
            load_data(path, "static")


def test_what_is_imported_has_a_name_and_is_never_overwritten(tmp_path, cache):
    for i, pixels in enumerate(GREY):
        save_image(tmp_path / "x" / f"{i}.png", pixels)
    direct = load_data(tmp_path / "x")
    found = import_(tmp_path / "x", "mine")
    assert checksum(load_data("mine")) == checksum(direct)
    assert (found.source, found.train, found.test, found.shape, found.dtype) == ("mine", 50, 0, (4, 3), "uint8")
    assert found.checksum == checksum(direct)
    assert (cache / "imported/mine/train.npy").stat().st_size == 128 + 600
    (entry,) = [listed for listed in listing() if listed.name == "mine"]
    assert (entry.train, entry.test, entry.here) == (50, 0, True)
    before = (cache / "imported/mine/train.npy").read_bytes()
    with pytest.raises(FileExistsError, match=r"mine exists already, and nothing is overwritten"):
        import_("mnist", "mine")
    assert (cache / "imported/mine/train.npy").read_bytes() == before
    for bad in ("mnist", "My data", "../up", ""):
        with pytest.raises(ValueError, match=r"name is .*; it must be small letters and digits"):
            import_(tmp_path / "x", bad)
    np.savez(tmp_path / "both.npz", train=GREY[:40], test=GREY[40:])
    assert import_(tmp_path / "both.npz", "both-parts").test == 10
    assert checksum(load_data("both-parts")) == checksum(load_data(tmp_path / "both.npz"))


def test_a_failed_import_leaves_nothing(tmp_path, cache):
    save_image(tmp_path / "x" / "1.png", GREY[0])
    (tmp_path / "x" / "2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"2.png is a broken image"):
        import_(tmp_path / "x", "mine")
    assert list((cache / "imported").iterdir()) == []


def test_info_and_listing_are_plain_values_that_say_what_is_there(tmp_path, cache):
    np.save(tmp_path / "x.npy", GREY)
    found = info(tmp_path / "x.npy")
    assert (found.least, found.largest, found.protocols[0], found.mapped) == (GREY.min(), GREY.max(), "grey", False)
    assert found.checksum == checksum(load_data(tmp_path / "x.npy"))
    np.save(tmp_path / "bits.npy", GREY > 127)
    assert info(tmp_path / "bits.npy").protocols == ("static",)
    np.save(tmp_path / "numbers.npy", GREY / 100.0)
    assert info(tmp_path / "numbers.npy").protocols == ("as given",)
    names = {listed.name: listed for listed in listing()}
    assert names["mnist"].here
    assert not names["omniglot"].here
    assert names["emnist-letters"].train == 124_800
    for plain in (found, *names.values()):
        assert json.loads(json.dumps(dataclasses.asdict(plain)))["train"] > 0


def test_the_shape_of_images_is_kept_where_it_is_asked_for(tmp_path):
    np.save(tmp_path / "grey.npy", np.zeros((30, 4, 5), np.uint8))
    np.save(tmp_path / "rgb.npy", np.zeros((30, 3, 4, 5), np.uint8))
    np.save(tmp_path / "rows.npy", np.zeros((30, 6), np.uint8))
    shapes = [
        rp.load_data(tmp_path / f"{name}.npy", shape="image").train.values.shape[1:] for name in ("grey", "rgb", "rows")
    ]
    assert shapes == [(1, 4, 5), (3, 4, 5), (6,)]
    assert rp.load_data("mnist", shape="image").test.values.shape == (10_000, 1, 28, 28)
