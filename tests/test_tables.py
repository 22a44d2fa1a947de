"""Tables of other libraries in memory: data frames, arrays that know DLPack or NumPy, lists of lists."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

import reparam as rp
from reparam.batches import batches_for
from reparam.data import as_tensor, checksum, is_table
from reparam.training.run import read_record

X = np.random.default_rng(0).random((20, 3)).astype(np.float32)
MODEL = rp.VAE(rp.Gaussian(2), rp.Gaussian(3), rp.mlp(3, [], 4), rp.mlp(2, [], 6))


class Array:
    """An array of a library that knows nothing of torch."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)

    def __iter__(self):
        return iter(self.values)


class OnDevice:
    """An array that only DLPack hands over, as one on a GPU does."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return torch.tensor(self.values).__dlpack__(**options)

    def __dlpack_device__(self):
        return torch.tensor(self.values).__dlpack_device__()


class Frame:
    """A data frame as polars has it: columns are texts, `to_numpy` takes nothing."""

    def __init__(self, **columns):
        self.columns, self._values = list(columns), columns

    def __getitem__(self, name):
        return Frame(**{name: self._values[name]})

    def to_numpy(self):
        return np.stack(list(self._values.values()), axis=-1)

    def __iter__(self):
        return iter(self._values)


ACCEPTED = {
    "pandas": lambda: pd.DataFrame(X, columns=list("abc")),
    "pandas of several types": lambda: pd.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(float), "c": X[:, 2]}),
    "polars": lambda: Frame(a=X[:, 0], b=X[:, 1], c=X[:, 2]),
    "array": lambda: Array(X),
    "dlpack": lambda: OnDevice(X),
    "read-only": lambda: np.broadcast_to(X, X.shape),
    "matrix": lambda: np.asmatrix(X),
    "masked": lambda: np.ma.masked_array(X, mask=np.zeros_like(X, bool)),
    "long": lambda: X.astype(np.longdouble),
    "swapped": lambda: X.astype(">f4"),
    "lists": X.tolist,
    "tuples": lambda: tuple(tuple(row) for row in X.tolist()),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("kind", list(ACCEPTED))
def test_tables_of_every_library_are_examples(kind):
    given = ACCEPTED[kind]()
    assert is_table(given)
    batches = batches_for(MODEL, given, 8)
    assert [len(x) for x in batches] == [8, 8, 4]
    torch.testing.assert_close(torch.cat(list(batches)), torch.tensor(X))
    torch.testing.assert_close(rp.Data(as_tensor(given))[:20], torch.tensor(X))


def test_numbers_keep_their_type():
    assert as_tensor([[1, 2], [3, 4]]).dtype == torch.int64
    assert as_tensor([[True], [False]]).dtype == torch.bool
    assert as_tensor(pd.DataFrame({"a": np.array([1, 2], np.uint8)})).dtype == torch.uint8
    assert as_tensor([[[1.0, 2.0]], [[3.0, 4.0]]]).shape == (2, 1, 2)


def test_what_a_table_shares_with_torch_is_not_copied():
    assert as_tensor(X).data_ptr() == X.ctypes.data
    assert as_tensor(Array(X)).data_ptr() == X.ctypes.data
    given = torch.rand(3, 2)
    assert as_tensor(given).data_ptr() == given.data_ptr()


def test_batches_of_a_loader_are_not_taken_for_examples():
    for loader in (DataLoader(torch.tensor(X), batch_size=5), [torch.tensor(X)], [[torch.tensor(X), "y"]], iter([X])):
        assert not is_table(loader)
        assert torch.equal(torch.cat(list(batches_for(MODEL, loader, 3))), torch.tensor(X))
    assert not is_table("text")
    assert not is_table({"a": 1})
    assert not is_table(torch.utils.data.TensorDataset(torch.tensor(X)))


REFUSED = [
    (pd.DataFrame({"a": [1.0, 2.0], "kind": ["u", "v"]}), TypeError, r"x is a DataFrame whose column 'kind' holds .*Drop or"),
    (pd.DataFrame({"a": [1.0, 2.0], "b": pd.array([1, None], dtype="Int64")}), ValueError, r"data hold nan at index \[1, 1\]"),
    (pd.DataFrame({"a": [1.0, None], "b": [1.0, 2.0]}), ValueError, r"data hold nan at index \[1, 0\]"),
    (pd.DataFrame({"t": pd.to_datetime(["2020-01-01"] * 2)}), TypeError, r"column 't' holds datetime64"),
    ([[1.0, 2.0], [3.0]], ValueError, "x is a list of rows of different lengths; every row"),
    ([[1.0, "a"], [2.0, "b"]], TypeError, "x is an array of <U"),
    (np.array([["a"]]), TypeError, "x is an array of <U1"),
    (np.zeros(3, [("a", float)]), TypeError, "x is an array of .*'a'"),
    (np.ma.masked_array(X, mask=X > 0.5), ValueError, "x is a masked array with masked entries.*filled"),
    (pd.Series([1.0, 2.0]), ValueError, r"data have shape \(2,\); they must be \[N, ...\]"),
    ({"a": X}, TypeError, "data is a dict; it must be Data, a tensor, an array"),
    ("x.npy", TypeError, "data is a str; .*of a file its data: load_data"),
    (rp.data.Splits(rp.Data(torch.tensor(X)), None, rp.Data(torch.tensor(X))), TypeError, "data is a Splits; .*pass a part"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_what_is_no_table_of_numbers_is_named(given, error, message):
    with pytest.raises(error, match=message) as caught:
        rp.fit(MODEL, rp.Pathwise(), given, epochs=1)
    assert "\n" not in str(caught.value)


def test_an_array_that_dlpack_does_not_hand_over_is_named():
    class Stuck:
        def __dlpack__(self, **options):
            raise BufferError("no")

        def __dlpack_device__(self):
            return (1, 0)

    with pytest.raises(TypeError, match="x is a Stuck that DLPack does not hand over"):
        as_tensor(Stuck())


def test_a_run_knows_its_data_frame_again(tmp_path):
    frame = pd.DataFrame(X)
    rp.fit(MODEL, rp.Pathwise(), frame, epochs=1, run=tmp_path / "run")
    assert read_record(tmp_path / "run")["data"]["checksum"] == checksum(rp.Data(torch.tensor(X)))
    rp.fit(MODEL, rp.Pathwise(), frame, epochs=2, run=rp.Run(tmp_path / "run", resume=True))
