"""Data: the embedded digits, their protocols, and what a damaged or unsuitable file is told."""

import gzip
import importlib
import math
import shutil

import numpy as np
import pytest
import torch
from helpers import assert_mean

import reparam as rp
from reparam import families
from reparam.data.data import as_batch
from reparam.data.idx import read_idx

mnist_module = importlib.import_module("reparam.data.mnist")  # the name is also that of the function
CPU = torch.device("cpu")


def test_mnist_is_mnist():
    data = rp.mnist()
    assert data.validation is None
    assert data.train.values.shape == (60_000, 784)
    assert data.train.values.dtype == torch.uint8
    assert data.test.values.shape == (10_000, 784)
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.train[:60_000].mean().item() == pytest.approx(0.1307, abs=1e-4)  # the constant everyone knows
    assert data.train[:10].max() == 1.0


def test_splits_keep_the_last_training_images_apart():
    whole, split = rp.mnist(), rp.mnist(validation=10_000, shape=(1, 28, 28))
    assert [len(split.train), len(split.validation), len(split.test)] == [50_000, 10_000, 10_000]
    assert torch.equal(split.validation.values.flatten(1), whole.train.values[50_000:])
    assert split.train[:2].shape == (2, 1, 28, 28)


def test_dynamic_draws_fresh_bits_for_training_and_fixed_ones_for_testing():
    data, grey = rp.mnist("dynamic", validation=10_000), rp.mnist(validation=10_000)
    first, second = data.train[:100], data.train[:100]
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    ink = torch.stack([data.train[:20].sum(-1) for _ in range(400)])
    assert_mean(ink, grey.train[:20].sum(-1))
    for part in (data.validation, data.test):
        assert torch.equal(part[:50], part[:50])
        assert set(part[:50].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(rp.mnist("dynamic").test.values, data.test.values)
    assert data.test[:10_000].mean().item() == pytest.approx(grey.test[:10_000].mean().item(), abs=1e-3)


def test_threshold_is_one_above_the_middle():
    data, grey = rp.mnist("threshold"), rp.mnist()
    assert torch.equal(data.test[:500], (grey.test[:500] > 0.5).float())


@pytest.mark.parametrize("packed", [False, True])
def test_static_bits_come_from_a_file(tmp_path, packed):
    parts = {
        name: np.random.default_rng(0).integers(0, 2, (n, 784), np.uint8)
        for name, n in (("train", 5), ("valid", 3), ("test", 2))
    }
    stored = {name: np.packbits(bits, axis=1) if packed else bits for name, bits in parts.items()}
    np.savez(tmp_path / "bits.npz", **stored)
    data = rp.mnist("static", file=tmp_path / "bits.npz", validation=3)
    assert torch.equal(data.train[:5], torch.tensor(parts["train"]).float())
    assert torch.equal(data.validation[:3], torch.tensor(parts["valid"]).float())
    assert torch.equal(data.test[:2], torch.tensor(parts["test"]).float())


def test_a_damaged_file_says_which_and_what_was_expected(tmp_path, monkeypatch):
    shutil.copytree(mnist_module._FILES, tmp_path / "files")
    monkeypatch.setattr(mnist_module, "_FILES", tmp_path / "files")
    name = "t10k-images-idx3-ubyte.gz"
    content = (tmp_path / "files" / name).read_bytes()
    bits = bytearray(gzip.decompress(content))
    bits[5000] ^= 1
    for damaged, problem in (
        (content[:-1000], "gzip stream breaks off"),
        (gzip.compress(bytes(bits), 1), "have sha256 [0-9a-f]{64}"),
        (b"<html>not found</html>", "have sha256|begins with"),
        (b"", "have sha256"),
    ):
        (tmp_path / "files" / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{name} is damaged: .*({problem}).*Expected: .*sha256 0fa7898d"):
            rp.mnist()
    (tmp_path / "files" / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} cannot be read.*install reparam again"):
        rp.mnist()


def test_idx_files_of_other_shapes_are_read_and_wrong_ones_refused(tmp_path):
    path = tmp_path / "some-idx2-ubyte"
    path.write_bytes(b"\x00\x00\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6)))
    assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"holds 5 bytes for an array of shape \(2, 3\)"):
        read_idx(path)
    path.write_bytes(b"\x00\x00\x0d\x01" + bytes(8))
    with pytest.raises(ValueError, match="begins with 00000d01, not 000008"):
        read_idx(path)


def test_batches_visit_every_example_once():
    data = rp.Data(torch.arange(10.0)[:, None])
    batches = data.batches(4, shuffle=True)
    passes = [torch.cat(list(batches)).flatten() for _ in range(2)]
    assert [len(b) for b in batches] == [4, 4, 2]
    assert len(batches) == 3
    assert not torch.equal(*passes)
    for visited in passes:
        assert torch.equal(visited.sort().values, torch.arange(10.0))


def test_arrays_of_every_kind_become_batches():
    x = np.arange(12, dtype=np.float64).reshape(3, 4) / 12
    for array in (x, x.astype(">f4"), x[:, ::-1][:, ::-1], x.astype(np.float16)):
        torch.testing.assert_close(as_batch(array, CPU, torch.float32), torch.tensor(x).float(), rtol=1e-3, atol=1e-3)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert as_batch((frozen, "label"), CPU, torch.float64).dtype == torch.float64
    assert as_batch(np.full((2, 2), 51, np.uint8), CPU, torch.float32).flatten().tolist() == pytest.approx([0.2] * 4)


def test_bits_of_any_grey_data_can_be_fixed():
    for values in (torch.full((500, 20), 0.5), torch.full((500, 20), 128, dtype=torch.uint8)):
        bits = rp.Data(values, "grey").binarized(seed=3)
        assert_mean(bits[:500].flatten(), 0.5)
        assert torch.equal(bits.values, rp.Data(values, "grey").binarized(seed=3).values)


REFUSED = [
    (
        lambda: rp.mnist("gray"),
        ValueError,
        "protocol is 'gray'; it must be one of 'grey', 'dynamic', 'threshold', 'static'",
    ),
    (lambda: rp.mnist("static"), ValueError, "'static', and only it, reads its bits from a file"),
    (lambda: rp.mnist("grey", file="x.npz"), ValueError, "'static', and only it"),
    (lambda: rp.mnist(validation=60_000), ValueError, "nothing is left to train"),
    (lambda: rp.mnist(shape=(28, 27)), ValueError, "MNIST images have 784 pixels"),
    (lambda: rp.mnist(device="nowhere"), ValueError, "device is 'nowhere'; this machine has"),
    (
        lambda: rp.mnist("static", file="no/such.npz"),
        FileNotFoundError,
        "no/such.npz does not exist. Expected: an .npz",
    ),
    (
        lambda: rp.Data(torch.zeros(3, 2, dtype=torch.int64), "grey"),
        TypeError,
        "data hold int64; it must hold uint8, where",
    ),
    (lambda: rp.Data(torch.zeros(3)), ValueError, r"data have shape \(3,\); they must be \[N, ...\]"),
    (lambda: rp.Data(torch.zeros(0, 3)), ValueError, "N >= 1"),
    (lambda: rp.Data(np.zeros((3, 2))), TypeError, "values is a ndarray; it must be a tensor"),
    (lambda: rp.Data(torch.tensor([[0.0, 1.0], [2.0, torch.nan]])), ValueError, r"data hold nan at index \[1, 1\]"),
    (lambda: rp.Data(torch.tensor([[0.0, torch.inf]])), ValueError, r"data hold inf at index \[0, 1\]"),
    (lambda: rp.Data(torch.ones(3, 2, dtype=torch.uint8)), ValueError, "hold only 0 and 1; .* Pass values.float"),
    (lambda: rp.Data(torch.full((3, 2), 1.5), "dynamic"), ValueError, r"outside \[0, 1\]; bits are drawn"),
    (lambda: rp.Data(torch.full((3, 2), 1.5)).binarized(0), ValueError, r"outside \[0, 1\]; bits are drawn"),
    (lambda: rp.Data(torch.ones(3, 2), labels=torch.ones(2)), ValueError, "2 labels for 3 examples"),
    (lambda: rp.Data(torch.ones(3, 2)).batches(0), ValueError, "batch_size is 0; it must be at least 1"),
    (
        lambda: as_batch({"x": 1}, CPU, torch.float32),
        TypeError,
        r"x is a dict; .*Let the loader yield x, or \(x, ...\)",
    ),
    (lambda: as_batch(torch.ones(2, dtype=torch.complex64), CPU, torch.float32), TypeError, "data hold complex64"),
    (lambda: rp.Data(torch.ones(3, 2), labels=torch.ones(3)), TypeError, "type float32; they must be one whole number"),
    (lambda: rp.Data(torch.ones(3, 2), labels=torch.ones(3, 1).long()), TypeError, r"labels have shape \(3, 1\)"),
    (lambda: rp.Data(torch.ones(3, 2), names=("a", "b")), ValueError, "2 names for 3 examples"),
    (
        lambda: rp.Data(torch.ones(3, 2), labels=torch.arange(3), classes=("a", "b")),
        ValueError,
        "labels go from 0 to 2 and there are 2 classes; .*Give all classes",
    ),
]


@pytest.mark.parametrize(("act", "error", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_refusals_give_the_value_the_rule_and_the_remedy(act, error, message):
    with pytest.raises(error, match=message):
        act()


def test_static_files_of_wrong_kinds_are_refused(tmp_path):
    good = {name: np.zeros((2, 784), np.uint8) for name in ("train", "valid", "test")}
    cases = {
        "missing": ({"train": good["train"]}, "has no array valid; there are train"),
        "grey": ({**good, "test": np.full((2, 784), 7, np.uint8)}, "array test holds 7"),
        "narrow": ({**good, "valid": np.zeros((2, 783))}, r"array valid has shape \(2, 783\)"),
        "empty": ({**good, "valid": np.zeros((0, 784))}, r"array valid has shape \(0, 784\)"),
    }
    for name, (arrays, message) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(ValueError, match=rf"{name}.npz.*{message}.*Expected: an .npz"):
            rp.mnist("static", file=tmp_path / f"{name}.npz")
    np.savez_compressed(tmp_path / "whole.npz", **good)
    content = (tmp_path / "whole.npz").read_bytes()
    for length in (0, 10, len(content) // 2):
        (tmp_path / "cut.npz").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut.npz cannot be read as an archive of arrays.*Expected"):
            rp.mnist("static", file=tmp_path / "cut.npz")


@pytest.mark.parametrize("family", [families.Beta, families.Kumaraswamy])
def test_data_at_the_ends_of_an_open_interval_are_refused_with_a_way_to_squeeze_them(family):
    model = rp.VAE(rp.Gaussian(2), family(784), rp.mlp(784, [], 4), rp.mlp(2, [], 2 * 784))
    grey = rp.mnist("grey").test.values[:300]
    remedy = (
        r"example 0 has values from 0 to .*the open interval \(0, 1\)\).*squeeze x into \(0, 1\), such as \(x \* 254"
    )
    with pytest.raises(ValueError, match=remedy):
        rp.evaluate(model, grey, num_samples=2)
    squeezed = (grey / 255 * 254 + 0.5) / 255
    assert math.isfinite(rp.evaluate(model, squeezed, num_samples=2).elbo.value)
    with pytest.raises(ValueError, match=r"example 0 has values from .* to 2, .*Rescale the data"):
        rp.evaluate(model, torch.full((3, 784), 2.0), num_samples=2)


def test_grey_pixels_are_data_of_the_continuous_bernoulli():
    model = rp.VAE(rp.Gaussian(2), families.ContinuousBernoulli(784), rp.mlp(784, [], 4), rp.mlp(2, [], 784))
    grey = rp.mnist("grey").train.values[:2000]
    assert grey.min() == 0
    assert grey.max() == 255
    first = rp.evaluate(model, grey, num_samples=2).elbo.value
    rp.fit(model, rp.Pathwise(), grey, epochs=2, lr=0.1)
    assert rp.evaluate(model, grey, num_samples=2).elbo.value > first + 500
