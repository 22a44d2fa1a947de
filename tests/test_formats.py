"""Files of arrays by their endings and names: .npz of several arrays, .safetensors, tables, .h5ad, what is not read."""

import gzip
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from files import GREY, idx
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from reparam.data import checksum, import_, info, load_data
from reparam.data.formats import NOT_READ, READERS
from reparam.data.roles import Role, role_of

LABELS = np.arange(50) % 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))


def rows(data):
    return [part.values.flatten(1).tolist() for part in data.parts().values()]


def labels(data):
    return [None if part.labels is None else part.labels.tolist() for part in data.parts().values()]


def save(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return path


NAMED = {  # as Keras, MedMNIST, torchvision's and scikit-learn's users name what they save
    "keras": ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
    "joined": ("Xtrain", "ytrain", "Xvalid", "yvalid", "Xtest", "ytest"),
    "medmnist": ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
    "plain": ("train", "train_labels", "valid", "valid_labels", "test", "test_labels"),
    "idx": ("train-images", "train-labels", "dev-images", "dev-labels", "t10k-images", "t10k-labels"),
}


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("names", list(NAMED))
def test_arrays_have_a_role_by_their_name(tmp_path, names, ending):
    parts = [slice(0, 30), slice(30, 40), slice(40, 50)]
    arrays = {}
    for index, name in enumerate(NAMED[names]):
        arrays[name] = (GREY, LABELS)[index % 2][parts[index // 2]]
    data = load_data(save(tmp_path / f"x{ending}", arrays))
    assert rows(data) == [GREY[part].reshape(-1, 12).tolist() for part in parts]
    assert labels(data) == [LABELS[part].tolist() for part in parts]
    assert load_data(tmp_path / f"x{ending}", validation=0).train.labels.tolist() == LABELS[:40].tolist()


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_one_of_several_arrays_is_chosen_by_name(tmp_path, ending):
    path = save(tmp_path / f"x{ending}", {"a": GREY, "b": GREY[::-1], "kind": LABELS})
    assert rows(load_data(path, array="b", test=10))[0] == GREY[:9:-1].reshape(-1, 12).tolist()
    chosen = load_data(path, array="a", labels="kind", test=10)
    assert labels(chosen) == [LABELS[:40].tolist(), LABELS[40:].tolist()]
    with pytest.raises(ValueError, match=rf"x{ending} holds a, b, kind\. Expected: .*by array= \(--array\)\.$"):
        load_data(path)
    for name in ("array", "labels"):
        with pytest.raises(ValueError, match=rf"x{ending} has no array c; there are a, b, kind\. Expected"):
            load_data(path, **{"array": "a", name: "c"})
    assert load_data(path, array="a").notes == (f"{path} holds other arrays, which are left out: b, kind",)
    save(path, {"x": GREY, "y": LABELS, "images": GREY})
    with pytest.raises(ValueError, match=r"holds (x and images|images and x), which may both be the values.*array="):
        load_data(path)


def test_x_and_y_are_all_rows_and_their_labels(tmp_path):
    species = np.array(["cat", "dog", "eel"])[LABELS]
    for given in (species, LABELS[:, None], np.eye(3)[LABELS], LABELS.astype(float)):
        data = load_data(save(tmp_path / "x.npz", {"X": GREY, "y": given}), test=10)
        assert labels(data) == [LABELS[:40].tolist(), LABELS[40:].tolist()]
    assert load_data(save(tmp_path / "x.npz", {"X": GREY, "y": species})).test.classes == ("cat", "dog", "eel")
    named = save(tmp_path / "x.npz", {"X": GREY, "y": LABELS, "classes": np.array(["cat", "dog", "eel"])})
    assert load_data(named).train.classes == ("cat", "dog", "eel")
    assert info(named).labels == {"cat": 17, "dog": 17, "eel": 16}


def test_what_is_no_label_is_left_out_unless_it_is_asked_for(tmp_path):
    for given, message in (
        (np.linspace(0, 1, 50), "labels of type float64; labels are whole numbers or texts"),
        (LABELS[:9], r"labels of shape \(9,\) for 50 examples; there must be one"),
        (np.array([{}] * 50), "an array of Python objects, which would have to be unpickled"),
    ):
        path = save(tmp_path / "x.npz", {"x": GREY, "y": given})
        with pytest.warns(UserWarning, match=rf"{message}.* The labels are left out\.$"):
            assert load_data(path).train.labels is None
        with pytest.raises((TypeError, ValueError), match=message):
            load_data(path, array="x", labels="y")


def test_roles_are_read_from_names():
    assert role_of("train-images-idx3") == Role("train", "values")
    assert role_of("y") == Role(None, "labels")
    for name in ("arr_0", "x_train_2", "trainer", "x_y", "train_test", "metadata", ""):
        assert role_of(name) is None


@pytest.mark.parametrize("form", ["{}-ubyte", "{}-ubyte.gz", "dotted"])
def test_the_idx_files_of_a_folder_in_each_spelling(tmp_path, form):
    for name, array in (("train", GREY[:40]), ("t10k", GREY[40:])):
        for kind, values in (("images-idx3", array), ("labels-idx1", np.arange(len(array), dtype=np.uint8))):
            stem = f"{name}-{kind}"
            file = f"{stem.replace('-idx', '.idx')}-ubyte" if form == "dotted" else form.format(stem)
            (tmp_path / file).write_bytes(gzip.compress(idx(values)) if "gz" in form else idx(values))
    data = load_data(tmp_path)
    assert rows(data) == [GREY[:40].reshape(-1, 12).tolist(), GREY[40:].reshape(-1, 12).tolist()]
    assert labels(data) == [list(range(40)), list(range(10))]


def test_a_folder_has_a_file_for_each_part(tmp_path):
    for ending in (".npy", ".csv", ".safetensors"):
        folder = tmp_path / ending
        folder.mkdir()
        for name, part in (("train", slice(0, 30)), ("val", slice(30, 40)), ("test", slice(40, 50))):
            flat = GREY.reshape(50, -1)[part]
            if ending == ".npy":
                np.save(folder / f"{name}.npy", flat)
                np.save(folder / f"{name}_labels.npy", LABELS[part])
            elif ending == ".csv":
                np.savetxt(
                    folder / f"{name}.csv",
                    np.c_[flat, LABELS[part]],
                    "%d",
                    ",",
                    header=("p," * 12) + "label",
                    comments="",
                )
            else:
                save(folder / f"{name}.safetensors", {"pixels": flat})
        (folder / "notes.md").write_text("text")
        data = load_data(folder)
        assert [len(part) for part in data.parts().values()] == [30, 10, 10]
        assert rows(data)[2] == GREY.reshape(50, -1)[40:].tolist()
        assert any(note.endswith("other files are left out: notes.md.") for note in data.notes)
        if ending != ".safetensors":
            assert labels(data) == [LABELS[:30].tolist(), LABELS[30:40].tolist(), LABELS[40:].tolist()]


def test_labels_in_a_file_of_their_own(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    np.save(tmp_path / "y.npy", LABELS)
    (tmp_path / "y-idx1-ubyte").write_bytes(idx(LABELS.astype(np.uint8)))
    (tmp_path / "y.txt").write_text("\n".join(map(str, LABELS)) + "\n")
    (tmp_path / "y.csv").write_text("id,label\n" + "".join(f"{i},{k}\n" for i, k in enumerate(LABELS)))
    for name in ("y.npy", "y-idx1-ubyte", "y.txt", "y.csv"):
        assert labels(load_data(tmp_path / "x.npy", labels=str(tmp_path / name), test=10))[0] == LABELS[:40].tolist()
    with pytest.raises(FileNotFoundError, match=r"labels is 'gone.npy', and there is no such file"):
        load_data(tmp_path / "x.npy", labels="gone.npy")
    np.save(tmp_path / "y.npy", LABELS[:9])
    with pytest.raises(ValueError, match=r"labels of shape \(9,\) for 50 examples"):
        load_data(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"))


NUMBERS = np.array([[0, 10], [1, 20], [2, 255]] * 10)
TABLES = {
    "plain": "\n".join("{},{}".format(*row) for row in NUMBERS),
    "header": "a,b\n" + "\n".join("{},{}".format(*row) for row in NUMBERS) + "\n\n",
    "semicolons": "a;b\r\n" + "\r\n".join("{};{}".format(*row) for row in NUMBERS),
    "quoted": '"a","b"\n' + "\n".join('"{}",{}'.format(*row) for row in NUMBERS),
    "marked": "\ufeffa,b\n" + "\n".join("{},{}".format(*row) for row in NUMBERS),
    "pandas": pd.DataFrame(NUMBERS, columns=["a", "b"]).to_csv(),
    "labels": "label,a,b\n" + "\n".join(f"{i % 3},{row[0]},{row[1]}" for i, row in enumerate(NUMBERS)),
    "texts": "a,Class,b\n" + "\n".join(f"{row[0]},{'cde'[i % 3]},{row[1]}" for i, row in enumerate(NUMBERS)),
}


@pytest.mark.parametrize("kind", list(TABLES))
def test_text_tables_of_every_form(tmp_path, kind):
    (tmp_path / "x.csv").write_text(TABLES[kind], encoding="utf-8")
    (tmp_path / "x.tsv").write_text(TABLES[kind].replace(",", "\t"), encoding="utf-8")
    for ending in ("csv", "tsv"):
        data = load_data(tmp_path / f"x.{ending}", "as given", test=6)
        assert torch.equal(data.train[:24], torch.tensor(NUMBERS[:24]).float())
        assert data.train.names == (tuple(map(str, range(24))) if kind == "pandas" else None)
        assert labels(data)[0] == ([0, 1, 2] * 8 if kind in ("labels", "texts") else None)
    assert data.train.classes == (("c", "d", "e") if kind == "texts" else None)


def test_whole_numbers_of_a_text_are_bytes_where_means_are_expected_and_counts_as_given(tmp_path):
    (tmp_path / "x.csv").write_text(TABLES["labels"])
    grey = load_data(tmp_path / "x.csv", "grey")
    assert grey.train.values.dtype == torch.uint8
    assert grey.train[:3][:, 1].tolist() == pytest.approx([10 / 255, 20 / 255, 1.0])
    assert load_data(tmp_path / "x.csv", "as given").train[:3][:, 1].tolist() == [10, 20, 255]
    assert info(tmp_path / "x.csv").protocols == ("grey", "dynamic", "threshold", "as given")
    found = import_(tmp_path / "x.csv", "mine")
    assert found.dtype == "uint8"
    for protocol in ("grey", "as given"):
        assert checksum(load_data("mine", protocol)) == checksum(load_data(tmp_path / "x.csv", protocol))
    assert load_data("mine").train.labels.tolist() == grey.train.labels.tolist()
    (tmp_path / "x.csv").write_text("0.5,1\n0.25,0\n" * 5)
    assert load_data(tmp_path / "x.csv", "grey").train[0].tolist() == [0.5, 1.0]
    (tmp_path / "x.csv").write_text("300,1\n2,0\n" * 5)
    with pytest.raises(TypeError, match=r"x.csv holds int64; it must hold uint8"):
        load_data(tmp_path / "x.csv", "grey")
    assert info(tmp_path / "x.csv").protocols == ("as given",)


def test_a_column_of_labels_is_named_or_numbered(tmp_path):
    (tmp_path / "x.csv").write_text("kind,a,b\n" + "".join(f"{'uv'[i % 2]},{i},{i / 2}\n" for i in range(20)))
    for name in ("kind", "0"):
        data = load_data(tmp_path / "x.csv", "as given", labels=name)
        assert data.train.labels[:4].tolist() == [0, 1, 0, 1]
        assert data.train[3].tolist() == [3, 1.5]
        assert data.train.classes == ("u", "v")
    assert data.notes[0].endswith("x.csv: the column kind holds the labels")


BROKEN = {
    "a,b\n1,2\n3,x\n": r"x.csv holds 'x' in row 3, column 'b'; every value must be a number.*labels=",
    "1,2\n3,\n": r"x.csv holds an empty cell in row 2, column number 1",
    "1,2\n3\n": r"x.csv has 1 cells in row 2 and 2 in the first",
    "1,2\n3,4,5\n": r"x.csv has 3 cells in row 2 and 2 in the first",
    "a,label\n1,2\n3,4,5\n": r"x.csv has 3 cells in row 3 and 2 in the first",
    "": r"x.csv is empty; a table of numbers is expected",
    "1,2\n3,nan\n1,1\n": r"x.csv holds nan at index \[1, 1\]",
    "label,class,a\n1,2,3\n": r"x.csv has the columns label and class, which may all be the labels",
    "label\n1\n2\n": r"x.csv has no column of values: there are label",
}


@pytest.mark.parametrize("text", list(BROKEN), ids=[message[7:30] for message in BROKEN.values()])
def test_what_is_wrong_with_a_text_table_is_one_line(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=BROKEN[text]) as caught:
        load_data(tmp_path / "x.csv", "as given")
    assert "\n" not in str(caught.value)


def test_other_faults_of_a_text_table(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"x.csv is no text in UTF-8"):
        load_data(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ValueError, match=r"labels is 'c'; .*x.csv has no such column; there are a, b"):
        load_data(tmp_path / "x.csv", labels="c")


def test_parquet(tmp_path, monkeypatch):
    frame = pd.DataFrame(
        {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1] / 2, "species": ["u", "v"] * 15}, index=list("abc") * 10
    )
    frame.to_parquet(tmp_path / "x.parquet")
    data = load_data(tmp_path / "x.parquet", "as given", labels="species")
    assert torch.equal(data.train[:27], torch.tensor(frame[["a", "b"]].to_numpy()[:27]).float())
    assert data.train.classes == ("u", "v")
    assert data.train.names[:4] == ("a", "b", "c", "a")
    with pytest.raises(TypeError, match=r"x.parquet holds .*string in the column 'species'.*labels= \(--labels\)"):
        load_data(tmp_path / "x.parquet", "as given")
    frame.assign(a=None, b=[None, *range(29)]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"has 30 missing values in the column 'a'"):
        load_data(tmp_path / "x.parquet", labels="species")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match=r"x.parquet is damaged or no Parquet file"):
        load_data(tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"x.parquet is read with pyarrow, which is not installed. .*'reparam\[parquet\]'"
    ):
        load_data(tmp_path / "x.parquet")


COUNTS = np.random.default_rng(0).poisson(0.3, (30, 7)).astype(np.float32)


def write_h5ad(path, kind="csr_matrix"):
    """As anndata writes it (format 0.1.0 of its matrices and data frames)."""
    with h5py.File(path, "w") as file:
        if kind == "array":
            file["X"] = COUNTS
        else:
            matrix = scipy.sparse.csr_matrix(COUNTS) if kind == "csr_matrix" else scipy.sparse.csc_matrix(COUNTS)
            group = file.create_group("X")
            group.attrs.update({"encoding-type": kind, "encoding-version": "0.1.0", "shape": COUNTS.shape})
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
        file.create_group("layers")["raw"] = COUNTS * 2
        obs = file.create_group("obs")
        obs.attrs.update({"_index": "_index", "encoding-type": "dataframe"})
        names = [f"cell{i}" for i in range(30)]
        if kind == "array":  # as anndata writes pandas' texts
            index = obs.create_group("_index")
            index["values"], index["mask"] = names, np.zeros(30, bool)
        else:
            obs["_index"] = names
        age = obs.create_group("age")
        age["values"], age["mask"] = np.arange(30) % 3, np.arange(30) % 3 == 2
        column = obs.create_group("cell_type")
        column["categories"] = ["B", "T"]
        column["codes"] = np.array([0, 1, -1] * 10, np.int8)
    return path


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "array"])
def test_h5ad(tmp_path, kind):
    data = load_data(write_h5ad(tmp_path / "x.h5ad", kind), "as given", labels="cell_type")
    assert torch.equal(data.train[:27], torch.tensor(COUNTS[:27]))
    assert (data.train.values.layout is torch.sparse_csr) == (kind != "array")
    assert data.train.names[:2] == ("cell0", "cell1")
    assert data.train.classes == ("B", "T")
    assert data.train.labels[:3].tolist() == [0, 1, -1]
    aged = load_data(tmp_path / "x.h5ad", "as given", labels="age").train
    assert (aged.classes, aged.labels[:3].tolist()) == (("0", "1"), [0, 1, -1])
    assert load_data(tmp_path / "x.h5ad", "as given", array="raw").train[0].tolist() == (COUNTS[0] * 2).tolist()
    assert (
        load_data(tmp_path / "x.h5ad", "as given")
        .notes[0]
        .endswith("obs has age, cell_type; labels= (--labels) names one as the labels")
    )


def test_faults_of_h5ad(tmp_path, monkeypatch):
    path = write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(ValueError, match=r"x.h5ad has no matrix no; there are X, layers/raw"):
        load_data(path, array="no")
    with pytest.raises(
        ValueError, match=r"labels is 'no'; obs of .*x.h5ad has no such column; there are age, cell_type"
    ):
        load_data(path, labels="no")
    with h5py.File(tmp_path / "claims.h5ad", "w") as file:
        file.create_dataset("X", (10**9, 10**4), "float32", chunks=(100, 100))
    with pytest.raises(ValueError, match=r"claims an array of shape \(1000000000, 10000\) and is too small for that"):
        load_data(tmp_path / "claims.h5ad")
    with h5py.File(path, "a") as file:
        file["X/indices"][0] = 99
    with pytest.raises(ValueError, match=r"x.h5ad is no sparse matrix of shape \(30, 7\)"):
        load_data(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"x.h5ad is damaged or no .h5ad file"):
        load_data(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"x.h5ad is read with h5py, which is not installed. .*'reparam\[h5ad\]'"):
        load_data(path)


def test_a_damaged_safetensors_file(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no more than this")
    with pytest.raises(ValueError, match=r"x.safetensors is damaged or no .safetensors file"):
        load_data(tmp_path / "x.safetensors")
    save_file({"x": GREY}, tmp_path / "x.safetensors")
    torch_only = torch.rand(20, 3).bfloat16()
    save_tensors({"x": torch_only}, tmp_path / "half.safetensors")
    assert torch.equal(load_data(tmp_path / "half.safetensors").train[:18], torch_only[:18].float())
    assert import_(tmp_path / "half.safetensors", "mine").dtype == "float32"  # NumPy's files have no bfloat16
    assert torch.equal(load_data("mine").train[:18], torch_only[:18].float())


@pytest.mark.parametrize("ending", sorted(NOT_READ))
def test_what_is_not_read_is_named_with_what_to_do(tmp_path, ending):
    path = tmp_path / f"x{ending.upper() if len(ending) == 4 else ending}"
    path.write_bytes(b"some content")
    with pytest.raises(ValueError, match=rf"x{path.suffix} ends in {ending}: ") as caught:
        load_data(path)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)
    (tmp_path / f"{path.name}.gz").write_bytes(b"\x1f\x8bpacked")
    with pytest.raises(ValueError, match=r"is packed; of packed files only IDX is read. Unpack the file first: gunzip"):
        load_data(tmp_path / f"{path.name}.gz")


def test_files_of_no_known_kind(tmp_path):
    (tmp_path / "x.foo").write_bytes(b"some content")
    with pytest.raises(ValueError, match=r"x.foo is no file of a known kind: .npy, .npz, .*are read. Save the numbers"):
        load_data(tmp_path / "x.foo")
    (tmp_path / "x.bin").write_bytes(idx(GREY))  # IDX is known by its first bytes, whatever its name
    assert len(load_data(tmp_path / "x.bin").train) == 45
    assert set(READERS).isdisjoint(NOT_READ)


def test_a_pickle_is_never_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("opened",))

    torch.save({"x": Evil()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x.pt ends in .pt: such files are pickles, .*Save the numbers as .npy"):
        load_data(tmp_path / "x.pt")


def test_the_extras_are_imported_when_a_file_needs_them():
    code = "import sys, reparam.data; print([m for m in ('h5py', 'pyarrow', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
