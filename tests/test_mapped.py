"""Data that need not fit into memory: mapped files and torch data sets. Only batches are ever copied."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import reparam as rp
from reparam.batches import batches_for
from reparam.data import checksum, info, load_data, readers

ROOT = Path(__file__).resolve().parent.parent
PIXELS = torch.rand(60, 4)

LARGE = """
import resource, sys, time
import numpy as np, torch, reparam as rp

def resident():  # bytes of memory that are no file's
    try:
        status = open("/proc/self/status").read()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(status.split("RssAnon:")[1].split()[0]) * 1024

torch.manual_seed(0)
torch.set_num_threads(1)
data = rp.load_data(sys.argv[1], "dynamic")
assert data.train.mapped and len(data.train) == 9_990_000
model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(64), rp.mlp(64, [], 4), rp.mlp(2, [], 64))
rp.fit(model, rp.Pathwise(), data.train.part(0, 30_000), epochs=1, batch_size=10_000)  # what any training takes
seen, used = torch.zeros((), dtype=torch.int64), [resident()]

def encoder(x, plain=model.encoder):
    global seen
    seen = seen + x.detach().sum().long()
    used.append(resident())
    return plain(x)

model.posterior = lambda x, family=model.latent: family(encoder(x))
rp.fit(model, rp.Pathwise(), data.train, epochs=1, batch_size=10_000)
print(int(seen), max(used) - used[0], max(used[500:]) - max(used[:500]))
"""


def test_ten_million_images_train_in_flat_memory(tmp_path):
    path = tmp_path / "large.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (10_000_000, 64))  # 640 MB, nearly all of it a hole
    images[1::100_000] = 255
    images.flush()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LARGE, path],
        env=environment, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    ink, growth, in_second_half = map(int, run.stdout.split())
    assert ink == 100 * 64  # each image was seen once
    assert in_second_half < 40e6  # the heap may yet place a window elsewhere
    assert growth < 200e6  # the indices of a window; the file has 640 MB, its images as batches 2.56 GB


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS.numpy())
    return tmp_path / "x.npy"


def model_of(columns=4):
    torch.manual_seed(3)
    return rp.VAE(rp.Gaussian(2), rp.ContinuousBernoulli(columns), rp.mlp(columns, [8], 4), rp.mlp(2, [8], columns))


def test_a_mapped_array_is_used_where_it_is(file):
    mapped = np.load(file, mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = batches_for(model_of(), mapped[10:], 16)
    assert batches.data.mapped
    assert batches.data.values.data_ptr() == mapped.ctypes.data + 10 * 16
    assert torch.equal(torch.cat(list(batches)), PIXELS[10:])
    assert not rp.data.as_data(np.array(mapped), torch.float32).mapped


def test_a_mapped_file_is_trained_and_evaluated_like_memory(file):
    found = []
    for data in (PIXELS, np.load(file, mmap_mode="r")):
        model = model_of()
        rp.fit(model, rp.Pathwise(), data, epochs=1, batch_size=60, lr=1e-6)
        found.append(rp.evaluate(model, data, num_samples=5).elbo.value)
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_mapped_data_stay_while_batches_move(file):
    data = rp.data.as_data(np.load(file, mmap_mode="r"), torch.float32)
    assert data.to("cpu") is data
    moved = data.to("meta")
    assert moved.values.data_ptr() == data.values.data_ptr()
    assert moved[:3].device.type == moved[torch.tensor([1])].device.type == "meta"
    assert data.to(dtype=torch.float64)[:3].dtype == torch.float64
    assert moved.part(5, 9).device == moved.device


def test_what_was_checked_is_not_read_again(file, monkeypatch):
    data = rp.data.as_data(np.load(file, mmap_mode="r"), torch.float32)
    monkeypatch.setattr(rp.Data, "__post_init__", lambda self: pytest.fail("checked again"))
    data.to("meta", torch.float64).part(2, 4)


def test_what_lies_inside_in_any_case_is_not_looked_through(file, monkeypatch):
    real = rp.VAE(rp.Gaussian(2), rp.Gaussian(4), rp.mlp(4, [], 4), rp.mlp(2, [], 8))
    numbers, bytes_ = rp.Data(PIXELS), rp.Data((PIXELS * 255).to(torch.uint8), "grey")
    monkeypatch.setattr(rp.Data, "blocks", lambda self: pytest.fail("all was read"))
    batches_for(real, numbers, 16)
    batches_for(model_of(), bytes_, 16)


def test_a_large_npy_is_mapped_and_all_protocols_work_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAPPED_ABOVE", 100)
    grey = np.random.default_rng(0).integers(0, 256, (40, 6), np.uint8)
    np.save(tmp_path / "x.npy", grey)
    data, threshold = load_data(tmp_path / "x.npy"), load_data(tmp_path / "x.npy", "threshold")
    assert data.train.mapped
    assert data.test.mapped
    assert torch.equal(threshold.train[:36], (data.train[:36] > 0.5).float())
    assert torch.allclose(threshold.train.mean_logits(), rp.Data(threshold.train[:36]).mean_logits())
    dynamic = load_data(tmp_path / "x.npy", "dynamic", validation=3)
    assert [part.mapped for part in dynamic.parts().values()] == [True, False, False]
    found = info(tmp_path / "x.npy")
    assert found.mapped
    monkeypatch.setattr(readers, "MAPPED_ABOVE", 2**28)
    assert found.checksum == checksum(load_data(tmp_path / "x.npy"))


def test_mapped_files_that_only_a_copy_could_use_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAPPED_ABOVE", 10)
    bits = (PIXELS.numpy() > 0.5).astype(np.uint8)
    for name, values in {
        "fortran": np.asfortranarray(bits * 255),
        "swapped": PIXELS.numpy().astype(">f4"),
        "bits": bits,
        "whole": bits * 255,
        "floats": bits.astype(np.float32),
    }.items():
        np.save(tmp_path / f"{name}.npy", values)
    with pytest.raises(ValueError, match=r"fortran.npy is in Fortran order .*ascontiguousarray"):
        load_data(tmp_path / "fortran.npy")
    with pytest.raises(ValueError, match=r"holds >f4 .*Write the file anew"):
        load_data(tmp_path / "swapped.npy")
    with pytest.raises(ValueError, match=r"bits.npy holds 0 and 1 as uint8 in a file .*Store 0 and 255"):
        load_data(tmp_path / "bits.npy", "static")
    for name in ("whole", "floats"):
        data = load_data(tmp_path / f"{name}.npy", "static")
        assert data.train.mapped
        assert np.array_equal(data.train[:54], bits[:54])


def test_a_mapped_file_is_checked_in_blocks(tmp_path):
    values = np.zeros((9000, 2), np.float32)
    values[8500, 1] = np.nan
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match=r"data hold nan at index \[8500, 1\]"):
        batches_for(model_of(2), np.load(tmp_path / "x.npy", mmap_mode="r"), 10)
    values[8500, 1] = 1.5
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match=r"example 8500 has values from 0 to 1.5"):
        batches_for(model_of(2), np.load(tmp_path / "x.npy", mmap_mode="r"), 10)


class Examples(Dataset):
    def __init__(self, items):
        self.items = items

    def __getitem__(self, index):
        return self.items[index]

    def __len__(self):
        return len(self.items)


class Stream(IterableDataset):
    def __iter__(self):
        yield from PIXELS


def test_a_torch_dataset_is_gone_over_in_batches():
    bytes_ = (PIXELS * 255).to(torch.uint8)
    pictures = [(Image.fromarray(row.numpy()[None]), 3) for row in bytes_]
    for items, expected in (
        (Examples(list(PIXELS)), PIXELS),
        (TensorDataset(PIXELS, torch.arange(60)), PIXELS),
        (Stream(), PIXELS),
        (DataLoader(Stream(), batch_size=16), PIXELS),
    ):
        batches = list(batches_for(model_of(), items, 16))
        assert [len(batch) for batch in batches] == [16, 16, 16, 12]
        assert torch.equal(torch.cat(batches), expected)
    wide = rp.VAE(
        rp.Gaussian(2),
        rp.Bernoulli((1, 4)),
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4)),
        torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Unflatten(-1, (1, 4))),
    )
    (batch,) = batches_for(wide, Examples(pictures), 60)
    torch.testing.assert_close(batch.flatten(1), bytes_ / 255)


def test_a_torch_dataset_trains_and_is_evaluated():
    model = model_of()
    for data in (TensorDataset(PIXELS), Stream()):
        with torch.no_grad():
            model.decoder[-1].bias.fill_(-3.0)
        before = rp.evaluate(model, data, num_samples=3).elbo.value
        rp.fit(model, rp.Pathwise(), data, epochs=10, batch_size=20, lr=1e-2)
        assert rp.evaluate(model, data, num_samples=3).elbo.value > before + 0.1
    orders = [torch.cat(list(batches_for(model, TensorDataset(PIXELS), 60, shuffle=True))) for _ in range(2)]
    assert not torch.equal(*orders)


def test_datasets_that_cannot_be_gone_over_are_refused():
    class Endless(Dataset):
        def __getitem__(self, index):
            return PIXELS[0]

    with pytest.raises(TypeError, match="data is a Endless without a length"):
        rp.fit(model_of(), rp.Pathwise(), Endless(), epochs=1)
    with pytest.raises(ValueError, match="batch_size is 0"):
        rp.fit(model_of(), rp.Pathwise(), Stream(), epochs=1, batch_size=0)
