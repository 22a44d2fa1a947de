"""Labels, class names and names of examples: through parts, subsets, shuffles, checksums."""

import dataclasses

import numpy as np
import pytest
import torch

import reparam as rp
from reparam.data import checksum, import_, info, load_data, passes
from reparam.data.labels import encoded
from reparam.data.stored import Part, Stored

N = 40
X = torch.arange(float(N))[:, None].repeat(1, 4)  # row i holds i


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))


def labelled(values=X, **options):
    return rp.Data(
        values, labels=torch.arange(N) % 3, classes=("a", "b", "c"), names=tuple(map(str, range(N))), **options
    )


def agree(data):
    """Whether each row has the label and the name it began with."""
    rows = data[: len(data)][:, 0].long()
    return torch.equal(data.labels.cpu(), rows % 3) and data.names == tuple(str(i) for i in rows.tolist())


def mapped(tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    return labelled(torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="c")), mapped=True)


def test_parts_and_subsets_keep_labels_and_names(tmp_path):
    for data in (labelled(), mapped(tmp_path)):
        for some in (
            data.part(5, 20),
            data.subset(torch.tensor([9, 3, 3])),
            data.subset(slice(None, None, 7)),
            data.to("cpu"),
        ):
            assert agree(some)
            assert some.classes == ("a", "b", "c")
        assert data.subset(slice(2, 9)).mapped == data.mapped
        assert not data.subset(torch.tensor([9, 3, 3])).mapped
        assert agree(dataclasses.replace(data, dtype=torch.float64))
    bits = labelled(X / N, protocol="dynamic").binarized(0)
    assert bits.labels.tolist() == (torch.arange(N) % 3).tolist()
    assert bits.names[3] == "3"


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("in_file", [False, True])
def test_batches_of_any_pass_can_be_traced_to_their_rows(tmp_path, monkeypatch, in_file, shuffle):
    monkeypatch.setattr(passes, "BLOCK_BYTES", 16 * 4)
    monkeypatch.setattr(passes, "BLOCKS_IN_WINDOW", 4)
    data = mapped(tmp_path) if in_file else labelled()
    whole = data.batches(7, shuffle=shuffle)
    order = whole.order()
    for batches in (whole, whole.starting_at(2), whole.share(1, 2)):
        found = list(zip(batches.over(order), batches.indices(order), strict=True))
        assert len(found) == len(batches)
        for x, rows in found:
            assert torch.equal(x[:, 0].long(), rows)
            assert torch.equal(data.labels[rows], rows % 3)
    with pytest.raises(ValueError, match="the order has shape"):
        whole.indices(torch.arange(3))


def test_labels_count_in_the_checksum_only_where_they_are_asked_for():
    plain, data = rp.Data(X), labelled()
    assert checksum(data) == checksum(plain) == checksum(plain, labels=True)
    known = checksum(data, labels=True)
    assert known != checksum(plain)
    assert known == checksum(dataclasses.replace(data, labels=data.labels.to(torch.uint8)), labels=True)
    assert known == checksum(dataclasses.replace(data, names=None, source="elsewhere"), labels=True)
    for other in ({"labels": data.labels.flip(0)}, {"classes": ("a", "b", "d")}, {"classes": None}):
        assert checksum(dataclasses.replace(data, **other), labels=True) != known
    splits = rp.data.Splits(data, None, plain)
    assert checksum(splits) == checksum(rp.data.Splits(plain, None, plain))
    assert checksum(splits, labels=True) != checksum(splits)


def test_the_checksum_of_mnist_is_what_runs_have_written_down():
    assert checksum(rp.mnist("grey").test)[:15] == "sha256:6814d269"  # docs/runs.md
    assert info("mnist").labels["7"] == 6265
    assert info("mnist").labels_checksum == checksum(load_data("mnist"), labels=True)


def test_published_labels_are_imported(tmp_path):
    import_("mnist", "mine")
    assert torch.equal(load_data("mine").test.labels, rp.mnist().test.labels)


RAW = {
    "whole": (np.array([3, 3, -1], np.int8), [3, 3, -1], None),
    "bits": (np.array([True, False, True]), [1, 0, 1], None),
    "texts": (np.array(["b", "a", "b"]), [1, 0, 1], ("a", "b")),
    "bytes": (np.array([b"b", b"a", b"b"]), [1, 0, 1], ("a", "b")),
    "objects": (np.array(["b", "a", "b"], object), [1, 0, 1], ("a", "b")),
    "written numbers": (np.array(["10", "9", "10"]), [10, 9, 10], None),
    "written as floats": (np.array(["1.0", "0.0", "1.0"]), [1, 0, 1], None),
    "none of some": (np.array(["b", "", "a"]), [1, -1, 0], ("a", "b")),
    "numbers, none of some": (np.array(["10", "", "9"]), [1, -1, 0], ("9", "10")),
    "one-hot": (np.eye(3)[[2, 0, 1]], [2, 0, 1], None),
    "column": (np.array([[2.0], [0.0], [1.0]]), [2, 0, 1], None),
}


@pytest.mark.parametrize("kind", list(RAW))
def test_labels_of_every_form_become_whole_numbers(kind):
    raw, expected, classes = RAW[kind]
    found = encoded(Stored({"train": Part(X[:3], raw)}), "x", asked=True)
    assert found.train.labels.tolist() == expected
    assert found.train.labels.dtype == np.int64
    assert found.classes == classes


def test_texts_are_numbered_over_all_parts_together():
    parts = {"train": Part(X[:2], np.array(["b", "b"])), "test": Part(X[:2], np.array(["c", "a"]))}
    found = encoded(Stored(parts), "x", asked=True)
    assert [part.labels.tolist() for part in found.parts.values()] == [[1, 1], [2, 0]]
    assert found.classes == ("a", "b", "c")
    with pytest.raises(TypeError, match="x holds labels as numbers in one part and as texts in another"):
        encoded(Stored({**parts, "test": Part(X[:2], np.array([1, 2]))}), "x", asked=True)
