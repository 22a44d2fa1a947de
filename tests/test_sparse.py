"""Sparse matrices stay sparse; only batches are made dense."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

import reparam as rp
from reparam.batches import batches_for
from reparam.data import as_tensor, checksum, import_, info, listing, load_data
from reparam.data.rows import subset, take

# what torch says once when a program makes such a tensor itself
pytestmark = pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC|invariant)")
ROOT = Path(__file__).resolve().parent.parent
DENSE = np.random.default_rng(0).poisson(0.2, (60, 9)).astype(np.float32)
DENSE[7] = DENSE[59] = 0  # rows without an entry
X = torch.tensor(DENSE)
FORMS = ("csr", "csc", "coo", "lil", "dia", "bsr")
MODEL = rp.VAE(rp.Gaussian(2), rp.Poisson(9), rp.mlp(9, [], 4), rp.mlp(2, [], 9))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))


def matrices():
    yield from (scipy.sparse.csr_array(DENSE).asformat(form) for form in FORMS)
    yield scipy.sparse.csr_matrix(DENSE)
    yield from (X.to_sparse(), X.to_sparse_csr(), X.to_sparse_csc())


def test_rows_of_every_form_are_those_of_the_dense_matrix():
    for matrix in matrices():
        rows = as_tensor(matrix)
        assert rows.layout is torch.sparse_csr
        for index in (slice(5, 20), slice(0, 60), slice(59, 99), slice(3, 3), torch.tensor([59, 7, 3, 3, 0])):
            assert torch.equal(take(rows, index), X[index])
            assert torch.equal(take(subset(rows, index), slice(0, 99)), X[index])


def test_entries_out_of_order_and_twice_are_those_of_scipy():
    matrix = scipy.sparse.csr_array((np.array([1.0, 2, 4, 8]), np.array([3, 1, 1, 0]), np.array([0, 3, 3, 4])), (3, 4))
    assert torch.equal(take(as_tensor(matrix), slice(0, 3)), torch.tensor(matrix.toarray()))
    assert take(as_tensor(scipy.sparse.csr_array((3, 4))), slice(0, 3)).tolist() == [[0.0] * 4] * 3


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "int64", "float16", "float32", "float64"])
def test_types_mean_what_they_mean_in_a_dense_matrix(dtype):
    dense = (DENSE > 0 if dtype == "bool" else DENSE * 3).astype(dtype)
    sparse = as_tensor(scipy.sparse.coo_array(dense) if dtype != "float16" else torch.tensor(dense).to_sparse())
    whole = rp.Data(torch.tensor(dense))
    data = rp.Data(sparse)
    assert torch.equal(data[:60], whole[:60])
    assert data.extremes().tolist() == whole.extremes().tolist()
    if dtype != "uint16":  # which torch cannot place, so that it is kept as int32
        assert checksum(data) == checksum(whole)


def test_data_of_a_sparse_matrix_have_parts_batches_labels_and_devices():
    labels, names = torch.arange(60), tuple(map(str, range(60)))
    data = rp.Data(as_tensor(scipy.sparse.csr_array(DENSE)), labels=labels, names=names)
    part = data.part(10, 30)
    assert torch.equal(part[:20], X[10:30])
    assert part.labels.tolist() == list(range(10, 30))
    assert part.subset(torch.tensor([5, 1])).names == ("15", "11")
    batches = data.batches(16, shuffle=True)
    order = batches.order()
    for x, rows in zip(batches.over(order), batches.indices(order), strict=True):
        assert torch.equal(x, X[data.labels[rows]])
    assert data.to("meta").values.device.type == "meta"
    assert data.to(dtype=torch.float64)[:2].dtype == torch.float64
    grey = rp.Data(as_tensor(scipy.sparse.csr_array(DENSE > 0).astype(np.float32)), "grey")
    assert torch.equal(grey.mean_logits(), rp.Data((X > 0).float(), "grey").mean_logits())
    assert torch.equal(grey.binarized(0)[:60], (X > 0).float())


def test_a_sparse_matrix_trains_and_is_evaluated_like_a_dense_one():
    found = []
    for given in (DENSE, *matrices()):
        torch.manual_seed(0)
        model = rp.VAE(rp.Gaussian(2), rp.Poisson(9), rp.mlp(9, [], 4), rp.mlp(2, [], 9))
        rp.fit(model, rp.Pathwise(), given, epochs=1, batch_size=16)
        found.append(rp.evaluate(model, given, num_samples=2).elbo.value)
    assert found == [found[0]] * len(found)
    batches = [X.to_sparse(), (scipy.sparse.csr_array(DENSE), "labels")]  # of a loader of one's own
    assert torch.equal(torch.cat(list(batches_for(MODEL, batches, 8))), torch.cat([X, X]))


def test_values_are_checked_where_they_are_stored():
    for value, message in ((np.nan, r"data hold nan at index \[12, 4\]"), (-1.0, "example 12 has values from -1")):
        changed = DENSE.copy()
        changed[12, 4] = value
        with pytest.raises(ValueError, match=message):
            batches_for(MODEL, scipy.sparse.csr_array(changed), 16)
    with pytest.raises(ValueError, match=r"data hold values from 0 to \d; under the protocol 'grey'"):
        rp.Data(as_tensor(X.to_sparse()), "grey")


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_files_that_scipy_saved_stay_sparse(tmp_path, form):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(DENSE).asformat(form))
    data = load_data(tmp_path / "x.npz", "as given")
    assert data.train.values.layout is torch.sparse_csr
    assert torch.equal(data.train[:54], X[:54])
    np.save(tmp_path / "dense.npy", DENSE)
    assert checksum(data) == checksum(load_data(tmp_path / "dense.npy", "as given"))
    found = import_(tmp_path / "x.npz", "mine")
    assert (found.sparse, found.train, found.shape, found.least) == (True, 60, (9,), 0.0)
    assert load_data("mine", "as given").train.values.layout is torch.sparse_csr
    assert next(each for each in listing() if each.name == "mine").train == 60
    assert info(tmp_path / "x.npz").checksum == found.checksum


def test_files_of_sparse_matrices_that_cannot_be(tmp_path):
    good = {"format": b"csr", "shape": (3, 4), "data": np.ones(2), "indices": [0, 3], "indptr": [0, 1, 1, 2]}
    for change, message in (
        ({"indices": [0, 4]}, r"x.npz is no sparse matrix of shape \(3, 4\): its row pointers"),
        ({"indices": [-1, 3]}, "is no sparse matrix"),
        ({"indptr": [0, 2, 1, 2]}, "is no sparse matrix"),
        ({"indptr": [0, 1, 2]}, "is no sparse matrix"),
        ({"indptr": [0, 1, 1, 9]}, "is no sparse matrix"),
        ({"data": np.ones(3)}, "is no sparse matrix"),
        ({"format": b"dia"}, "x.npz holds a sparse matrix of the form 'dia'; csr, csc and coo are read"),
        ({"format": b"csc", "shape": (10**15, 3)}, "x.npz claims 1000000000000000 rows for 2 entries"),
        ({"format": b"csc", "shape": (3, 4)}, r"its column pointers do not fit"),
    ):
        np.savez(tmp_path / "x.npz", **{**good, **change})
        with pytest.raises(ValueError, match=message):
            load_data(tmp_path / "x.npz")


def test_a_sparse_matrix_has_no_other_shape(tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(DENSE))
    assert load_data(tmp_path / "x.npz", "as given", shape="image").train.values.shape == (54, 9)
    with pytest.raises(ValueError, match=r"shape is \(3, 3\); .*is a sparse matrix, whose examples have one axis"):
        load_data(tmp_path / "x.npz", "as given", shape=(3, 3))
    with pytest.raises(ValueError, match=r"x is a sparse tensor of shape \(2, 3, 4\); it must be a matrix"):
        as_tensor(torch.rand(2, 3, 4).to_sparse())


MEMORY = """
import resource, sys
import numpy as np, scipy.sparse, torch, reparam as rp

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

torch.set_num_threads(1)
rows, columns, entries = 50_000, 4_000, 20
random = np.random.default_rng(0)
index = random.integers(0, columns, rows * entries)
x = scipy.sparse.csr_array((np.ones(rows * entries, np.float32), index, np.arange(0, rows * entries + 1, entries)), (rows, columns))
model = rp.VAE(rp.Gaussian(2), rp.Gaussian(columns), rp.mlp(columns, [], 4), rp.mlp(2, [], 2 * columns))
few = x[:2000]
rp.fit(model, rp.Pathwise(), few, epochs=1, batch_size=500)  # what any training takes
before = peak()
rp.fit(model, rp.Pathwise(), x[:4_000], epochs=1, batch_size=500)
data = rp.Data(rp.data.as_tensor(x))
total = sum(float(batch.sum()) for batch in data.batches(500, shuffle=True))
print(int(total), peak() - before)
"""


def test_a_matrix_that_would_not_fit_into_memory_dense_is_gone_over_in_little():
    """50,000 x 4,000: 800 MB as float32, 12 MB as a sparse matrix."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    assert run.returncode == 0, run.stderr
    total, growth = map(int, run.stdout.split())
    assert total == 1_000_000
    assert growth < 150e6
