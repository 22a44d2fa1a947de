"""The command line: its help, its names, the laboratory, the data; what is not about runs."""

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call, save_images

from reparam.cli import entry
from reparam.experiment.presets import presets

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "train",
    "train gaussian",
    "resume",
    "evaluate",
    "sample",
    "reconstruct",
    "traverse",
    "interpolate",
    "compare",
)
COMMANDS += ("data", "data list", "data info", "data fetch", "data import", "lab", "version")
HELP = """
import sys
from reparam.cli import main
for line in sys.stdin:
    try:
        main([*line.split(), "--help"])
    except SystemExit as left:
        assert left.code == 0, left.code
heavy = {"torch", "numpy", "matplotlib", "pooch", "lightning_fabric", "PIL"} & set(sys.modules)
print(sorted(heavy), file=sys.stderr)
"""


def test_help_of_every_command_imports_nothing_heavy():
    lines = "\n".join(("", *COMMANDS))
    done = subprocess.run([sys.executable, "-c", HELP], input=lines, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout.count("usage: reparam") == 1 + len(COMMANDS)


def test_the_package_is_a_command():
    done = subprocess.run([sys.executable, "-m", "reparam", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.count(".") == 2


def test_help_of_train_lists_the_presets_and_that_of_a_preset_its_defaults(capsys):
    code, listed, _ = call(capsys, "train", "--help")
    assert code == 0
    assert all(name in listed for name in presets)
    assert presets["vae"].description.split(",")[0] in listed
    code, shown, _ = call(capsys, "train", "iwae-5", "--help")
    flat = " ".join(shown.replace("│", " ").split())
    assert code == 0
    assert "(default: 'Pathwise(5, iwae)')" in flat
    assert "--epochs INT Passes over the training data. (default: 20)" in flat
    assert "--no-output-bias" in flat


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("trian",), "there is no command 'trian'. The nearest is train."),
        (("train", "gausian"), "there is no preset 'gausian'. The nearest is gaussian."),
        (("data", "lsit"), "there is no command 'data lsit'. The nearest is list."),
        (("train", "gaussian", "--epochs", 0), "epochs is 0; it must be a whole number, at least 1."),
        (("train", "gaussian", "--latent", "Gausian(3)", "--epochs", 1), "Gaussian"),
        (("data", "info", "fashion-mnits"), "'fashion-mnist'"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(typed, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, *typed)
    assert code == 2
    assert err.startswith("reparam: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert list(tmp_path.glob("runs/*")) == []  # no folder of a run that never began


def test_an_unknown_option_suggests_the_nearest(capsys):
    code, out, err = call(capsys, "train", "gaussian", "--lattent", "Bernoulli(3)")
    assert code == 2
    assert "--latent" in out + err


def test_debug_shows_where_an_error_came_from(capsys):
    code, _, err = call(capsys, "evaluate", "nowhere", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert "reparam: nowhere holds no run." in err


def test_completion_knows_commands_presets_and_options(capsys):
    code, out, _ = call(capsys, "--tyro-print-completion", "bash")
    assert code == 0
    for word in ("interpolate", "bernoulli-rloo", "--batch-size", "--num-samples"):
        assert word in out


def test_version_as_text_and_as_json(capsys):
    assert call(capsys, "version")[1].count(".") == 2
    assert call(capsys, "--version") == call(capsys, "version")
    assert json.loads(call(capsys, "version", "--json")[1])["reparam"] == call(capsys, "version")[1].strip()


@pytest.mark.parametrize("latent", ["bernoulli", "categorical", "gaussian"])
def test_lab_measures_and_advises(latent, capsys, tmp_path):
    files = ("--csv", tmp_path / "lab.csv", "--figure", tmp_path / "lab.png")
    options = ("--latent", latent, "--steps", 5, "--repeats", 20, "--examples", 4)
    code, printed, _ = call(capsys, "lab", *options, *files, "--only", "RLOO")
    assert code == 0
    assert "error at equal time" in printed
    assert "elbo: use RLOO" in printed
    assert f"wrote {tmp_path / 'lab.png'}" in printed
    names = {row["name"] for row in csv.DictReader((tmp_path / "lab.csv").read_text().splitlines())}
    assert names == {"RLOO(num_samples=4)", "RLOO(num_samples=2)", "RLOO(num_samples=8)"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "gumbo"), "reparam: --only is 'gumbo', and no estimator's name contains that. There are: "),
        (("--repeats", 3), "reparam: --repeats is 3; it must be a whole number, at least 20."),
        (("--csv", "pyproject.toml"), "reparam: --csv is 'pyproject.toml', which exists already, and nothing"),
    ],
)
def test_the_laboratory_refuses_what_it_cannot_do(options, message, capsys):
    code, _, err = call(capsys, "lab", "--steps", 0, *options)
    assert code == 2
    assert err.startswith(message)


def test_data_are_listed_described_and_imported(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))
    images = save_images(tmp_path / "images.npy", 20)
    code, out, _ = call(capsys, "data", "info", images, "--json")
    described = json.loads(out)
    assert (code, described["train"], described["shape"], described["dtype"]) == (0, 20, [8, 8], "uint8")
    code, out, _ = call(capsys, "data", "import", images, "mine", "--json")
    assert (code, json.loads(out)["checksum"]) == (0, described["checksum"])
    by_name = {each["name"]: each for each in json.loads(call(capsys, "data", "list", "--json")[1])["data"]}
    assert by_name["mine"]["train"] == 20
    assert by_name["mnist"]["here"]
    assert not by_name["kmnist"]["here"]
    assert "reparam data fetch kmnist" in call(capsys, "data", "list")[1]
    assert "20 examples" in call(capsys, "data", "info", "mine")[1]
    code, _, err = call(capsys, "data", "import", images, "mine")
    assert code == 2
    assert "exists already" in err
    code, out, _ = call(capsys, "data", "fetch", "mnist", "--json")  # embedded: there is nothing to fetch
    assert (code, json.loads(out)) == (0, {"name": "mnist", "files": []})
    assert call(capsys, "data", "fetch", "mnits")[0] == 2


def test_every_command_that_the_docs_show_is_understood():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = [
        line.removeprefix("$ ").partition("  #")[0]
        for page in pages
        for block in re.findall(r"^```(?:sh)?\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if re.match(r"(\$ )?reparam ", line) and " > " not in line
    ]
    assert len(shown) >= 10
    for line in shown:
        given = shlex.split(line)[1:]
        if "--help" not in given:
            entry.check_names(given)
            assert callable(entry.parsed(given)), line


def test_what_the_page_on_runs_shows_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_images(tmp_path / "digits.npy")
    for snippet in re.findall(r"```python\n(.*?)```", (ROOT / "docs/runs.md").read_text(), re.DOTALL):
        exec(snippet, {})
    assert (tmp_path / "traverse.png").exists()
