"""The data options of the command line: --data, --array, --labels, --validation, `data info`, `data import`."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from commands import SMALL, call
from files import save_image

import reparam as rp
from reparam.experiment import Experiment

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (60, 6, 6), np.uint8)
KINDS = np.array(["cat", "dog"])[np.arange(60) % 2]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(capsys, *options):
    code, _, err = call(capsys, "train", "gaussian", *SMALL, "--latent", "Gaussian(2)", *options, "--run", "run")
    assert code == 0, err
    return (json.loads(Path(f"run/{name}.json").read_text()) for name in ("experiment", "summary"))


def test_one_of_several_arrays_is_trained_resumed_and_evaluated(capsys):
    np.savez("x.npz", small=PIXELS, large=np.zeros((60, 9, 9)), kind=KINDS)
    record, _ = trained(capsys, "--data", "x.npz", "--array", "small", "--labels", "kind")
    assert record["data"]["checksum"] == rp.data.checksum(rp.load_data("x.npz", array="small").train)
    assert call(capsys, "resume", "run", "--epochs", 2)[0] == 0
    assert call(capsys, "evaluate", "run", "--num-samples", 2)[0] == 0
    assert call(capsys, "reconstruct", "run", "--input", "x.npz")[0] == 0
    np.save("other.npy", PIXELS[:20])
    assert call(capsys, "evaluate", "run", "--data", "other.npy", "--num-samples", 2)[0] == 0
    code, _, err = call(capsys, "train", "gaussian", "--data", "x.npz")
    assert code == 2
    assert "by array= (--array)" in err


def test_parts_of_an_archive_are_trained_validated_and_tested_on(capsys):
    np.savez("x.npz", x_train=PIXELS[:40], x_val=PIXELS[40:50], x_test=PIXELS[50:])
    record, summary = trained(capsys, "--data", "x.npz")
    assert record["data"]["examples"] == 40
    assert record["experiment"]["dataset"]["validation"] is None
    assert summary["best"]["bound"] == "elbo"
    assert (
        json.loads(call(capsys, "evaluate", "run", "--part", "validation", "--num-samples", 2, "--json")[1])[
            "num_examples"
        ]
        == 10
    )


@pytest.mark.parametrize("kind", ["table.csv", "counts.npz", "counts.npy"])
def test_tables_and_counts_train_from_the_command_line(capsys, kind):
    counts = RANDOM.poisson(0.5, (60, 8))
    if kind == "table.csv":
        np.savetxt(kind, np.c_[counts, np.arange(60) % 3], "%d", ",", header="a,b,c,d,e,f,g,h,label", comments="")
    elif kind == "counts.npz":
        scipy.sparse.save_npz(kind, scipy.sparse.csr_array(counts))
    else:
        np.save(kind, counts)
    options = ("--data", kind, "--protocol", "as given", "--observation", "Poisson")
    record, _ = trained(capsys, *options)
    assert record["data"]["shape"] == [8]
    assert call(capsys, "evaluate", "run", "--num-samples", 2)[0] == 0
    assert call(capsys, "reconstruct", "run", "--input", kind)[0] in (0, 2)  # no picture of eight counts


def test_images_with_their_channels_last_train_a_convolution_of_their_channels(capsys):
    np.save("x.npy", RANDOM.integers(0, 256, (60, 8, 8, 3), np.uint8))
    record, _ = trained(capsys, "--data", "x.npy", "--network", "conv")
    assert record["data"]["shape"] == [3, 8, 8]
    assert call(capsys, "reconstruct", "run", "--input", "x.npy")[0] == 0
    np.save("one.npy", np.load("x.npy")[0].transpose(2, 0, 1))
    assert call(capsys, "reconstruct", "run", "--input", "one.npy")[0] == 0


def test_info_and_import_say_what_was_found_and_what_was_left_out(capsys, here):
    for number, (image, kind) in enumerate(zip(PIXELS, KINDS, strict=True)):
        part = "train" if number < 40 else "val" if number < 50 else "test"
        save_image(here / "x" / part / kind / f"{number}.png", image)
    (here / "x" / "train" / "readme.txt").write_text("text")
    code, out, _ = call(capsys, "data", "info", "x")
    assert code == 0
    for words in (
        "40 examples",
        "10 examples",
        "2 classes: cat 20, dog 20",
        "such as ",
        "no images are left out: 1 .txt",
    ):
        assert words in out
    described = json.loads(call(capsys, "data", "info", "x", "--json")[1])
    imported = json.loads(call(capsys, "data", "import", "x", "mine", "--json")[1])
    assert described["labels"] == imported["labels"] == {"cat": 20, "dog": 20}
    assert described["checksum"] == imported["checksum"]
    assert (imported["train"], imported["validation"], imported["test"]) == (40, 10, 10)
    np.savez("y.npz", a=PIXELS, kind=KINDS)
    code, out, _ = call(capsys, "data", "info", "y.npz", "--array", "a", "--labels", "kind")
    assert code == 0
    assert "2 classes: cat 30, dog 30" in out
    code, out, _ = call(capsys, "data", "import", "y.npz", "yours", "--array", "a", "--labels", "kind")
    assert code == 0
    assert rp.load_data("yours").train.classes == ("cat", "dog")


@pytest.mark.filterwarnings("default::UserWarning")
def test_what_is_left_out_of_a_training_is_one_line_of_warning(capsys, here):
    for number, image in enumerate(PIXELS[:20]):
        save_image(here / "x" / f"{number}.png", image)
    (here / "x" / "photo.heic").write_bytes(b"a photo")
    code, _, err = call(capsys, "train", "gaussian", *SMALL, "--data", "x", "--run", "run")
    assert code == 0
    assert err.count("reparam: warning: ") == 1
    assert "left out: 1 .heic" in err


def test_an_experiment_written_before_these_options_is_read():
    values = Experiment().to_values()
    for name in ("array", "labels"):
        del values["dataset"][name]
    values["dataset"]["validation"] = 0
    assert Experiment.from_values(values).dataset.array is None
    assert Experiment.from_values(values).dataset.validation == 0
    with pytest.raises(ValueError, match=r"validation is -1; it must be a whole number or null, at least 0"):
        Experiment().replace(validation=-1)
