"""Hostile values of every option of every command: one line that names the option as it was typed, and nothing done."""

import json
import re
from typing import get_args, get_origin

import pytest
import torch
from commands import SMALL, call, save_images

import reparam as rp
from reparam import cli
from reparam.cli import entry
from reparam.cli.app import Command, tree
from reparam.cli.options import Option
from reparam.cli.words import read
from reparam.experiment.rules import fits

NUMBERS = ("0", "-1", "1.5", str(10**30), "nan", "inf", "-inf", "", "é", "x", "None.", "1 2")
PYTHON = re.compile(
    r"Traceback|[┌│╭─]|invalid literal|(?<!-)\b[a-z]+_[a-z_]+ is |(?<!in Python )\brp\.|\\n|object has no"
)
GIVEN = {"RUN": "run", "SOURCE": "d.npy", "NAME": "mine"}


def commands():
    """Each command by the words that name it; of the presets, which have the same options, one."""
    found = {name: each for name, each in tree().items() if isinstance(each, Command)}
    found |= {f"data {name}": each for name, each in tree()["data"].items()}
    return {**found, "train gaussian": tree()["train"]["gaussian"]}


OPTIONS = [(name, option) for name, command in commands().items() for option in command.options()]
VALUES = [(name, option) for name, option in OPTIONS if not option.positional and option.kind not in (bool, str)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run, its data, a folder that holds nothing, and a file that is no data."""
    folder = tmp_path_factory.mktemp("options")
    save_images(folder / "d.npy")
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("no data")
    options = (*SMALL, "--data", folder / "d.npy", "--latent", "Gaussian(3)", "--run", folder / "run")
    cli.main([str(each) for each in ("train", "gaussian", *options)])
    return folder


def refused(capsys, place, monkeypatch, *typed):
    """The one line on standard error; nothing was printed or written otherwise."""
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    code, out, err = call(capsys, *typed)
    assert code == 2, (typed, code, out, err)
    assert out == "", (typed, out)
    assert err.startswith("reparam: "), (typed, err)
    assert err.count("\n") == 1, (typed, err)
    assert not PYTHON.search(err), (typed, err)
    assert sorted(place.rglob("*")) == before, typed
    return err


def required(name):
    return [GIVEN[each.word] for each in commands()[name].options() if each.positional]


@pytest.mark.parametrize(("name", "option"), VALUES, ids=lambda each: each.word if isinstance(each, Option) else each)
def test_a_value_of_another_kind_or_beyond_the_limits_is_refused(name, option, capsys, place, monkeypatch):
    command = (*name.split(), *required(name), option.word)
    for value in NUMBERS:
        words = value.split(" ")
        if is_meant(option, words) or (name == "compare" and words[1:]):  # which takes any number of runs
            continue
        err = refused(capsys, place, monkeypatch, *command, *words)
        assert f"{option.word} is " in err or "one word too many" in err, err
        assert words[0] in err or words[1] in err
        assert "it must be " in err or "one word too many" in err
    if option.least_words:
        assert f"{option.word} has no value; it must be " in refused(capsys, place, monkeypatch, *command)


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda each: each.word if isinstance(each, Option) else each)
def test_no_number_is_without_end(name, option):
    """Before, 10^30 draws or epochs were begun."""
    numbers = {int: (10**30, -(10**30)), float: (float("inf"), float("nan"))}
    kind = get_args(option.inner)[0] if get_origin(option.inner) is tuple else option.inner
    for value in numbers.get(kind, ()):
        whole = (value,) * 2 if kind is not option.inner else value
        assert not fits(whole, option.inner, option.limits)


def is_meant(option, words):
    """Whether the words are a value of the option, of which the command then makes what it can."""
    try:
        value = read([option.word, *words], [option], "x").values[option.name]
    except ValueError:
        return False
    return value is None or fits(value, option.inner, option.limits)


@pytest.mark.parametrize("name", commands())
def test_an_option_that_there_is_not_and_a_word_too_many_are_refused(name, capsys, place, monkeypatch):
    command, places = name.split(), required(name)
    err = refused(capsys, place, monkeypatch, *command, *places, "--frobnicate", 3)
    assert f"--frobnicate is no option of reparam {name}. reparam {name} --help lists the options." in err
    if places:
        assert " is missing. Give it: reparam " in refused(capsys, place, monkeypatch, *command)
    if name != "compare":
        err = refused(capsys, place, monkeypatch, *command, *places, "spare")
        assert "'spare' is one word too many for reparam " in err
    for option in commands()[name].options():
        if option.kind is bool:
            err = refused(capsys, place, monkeypatch, *command, *places, f"{option.word}=1")
            assert f"{option.word} is '1'; it takes no value." in err


TEXTS = (str(10**30), "", "é", "0", "nan", "missing.npy", "Gaussian(3", "load", "(", "Gaussian(-1)", "1e999")


@pytest.mark.parametrize("option", ["--latent", "--observation", "--estimator", "--lr"])
def test_a_text_that_stands_for_nothing_is_refused_by_its_option(option, capsys, place, monkeypatch):
    for value in TEXTS[option == "--lr" :]:
        err = refused(capsys, place, monkeypatch, "train", "gaussian", "--data", "d.npy", option, value, "--run", "new")
        assert err.startswith(f"reparam: {option} is "), err
        assert "--shape" not in err, err  # the argument of a family, which is no option


DATA = {"": "it must be text that is not empty", "é": "no data named", "missing.npy": "does not exist"}
DATA |= {"empty": "empty", "text.txt": "text.txt", "run/experiment.json": "experiment.json", "0": "no data named"}


@pytest.mark.parametrize(
    "command",
    [
        *("train gaussian --run new", "resume run", "evaluate run", "reconstruct run", "traverse run"),
        *("interpolate run", "lab --run run --repeats 20"),
    ],
)
def test_data_that_cannot_be_read_are_refused_by_the_option(command, capsys, place, monkeypatch):
    for value, words in DATA.items():
        err = refused(capsys, place, monkeypatch, *command.split(), "--data", value)
        assert err.startswith(f"reparam: --data is {value!r}"), err
        assert words in err


FILES = {"sample run": "--output", "reconstruct run": "--output", "traverse run": "--output"}
FILES |= {"interpolate run": "--output", "compare run": "--csv", "lab": "--csv", "lab --steps 0": "--figure"}


@pytest.mark.parametrize("command", FILES)
def test_a_file_that_is_there_or_a_folder_is_not_written_over(command, capsys, place, monkeypatch):
    for value in ("text.txt", "empty", ".", ""):
        err = refused(capsys, place, monkeypatch, *command.split(), FILES[command], value)
        assert err.startswith(f"reparam: {FILES[command]} is {value!r}"), err


RUNS = {"": "it must be", "nothing": "holds no run", "empty": "holds no run", "text.txt": "holds no run", "é": "no run"}


@pytest.mark.parametrize(
    "command", ["resume", "evaluate", "sample", "reconstruct", "traverse", "interpolate", "compare", "lab --run"]
)
def test_a_folder_that_holds_no_run_is_refused(command, capsys, place, monkeypatch):
    for value, words in RUNS.items():
        assert words in refused(capsys, place, monkeypatch, *command.split(), value)


@pytest.mark.parametrize("value", ["d.npy", "d.npy/new", "empty/../text.txt", ""])
def test_a_run_folder_that_cannot_be_is_refused(value, capsys, place, monkeypatch):
    options = ("train", "gaussian", *SMALL, "--data", "d.npy", "--latent", "Gaussian(3)")
    err = refused(capsys, place, monkeypatch, *options, "--run", value)
    assert "--run is ''" in err or f"the run folder {value} cannot be written" in err


CONFLICTS = {
    "--patience 3": "--patience is 3, and no examples are kept apart to validate on. Give --validation 18, or leave",
    "--patience 3 --evaluate-every 0": "--patience is 3 and --evaluate-every is 0; patience counts evaluations. Give",
    "--network conv --shape 64": "--network is conv, and an example has the shape 64; it must be an image (C, H, W). Give",
    "--output-bias --observation Gaussian": "--output-bias begins the decoder at log-odds, and the observation is",
    "--prior vamp --prior_components 500": "--prior_components is 500, and there are 180 training examples",
    "--latent Bernoulli(3)": "--estimator is 'Pathwise()': the posterior Bernoulli has no rsample",
    "--observation LogNormal": "--observation is 'LogNormal': example 0 has values from",
    "--observation Bernoulli(3)": "--observation is 'Bernoulli(3)', of shape (3,), and an example has the shape 64.",
    "--accelerator cuda": "--accelerator is 'cuda'; this machine has cpu",
    "--latent Hierarchy(Gaussian(2)) --prior vamp": "--prior is vamp, which a Hierarchy does not take. Take --prior",
    "--latent Hierarchy(Gaussian(2),prior=3)": "--network, --hidden and --prior say the rest",
    "--run run": "go on with 'reparam resume run', or add --overwrite.",
    "--run empty/..": "--run is 'empty/..', a folder that is not empty and holds no run",
}


def absent(*_, **__):
    """As on a machine without an accelerator, whatever this one has."""
    raise RuntimeError("not compiled with this")


@pytest.mark.parametrize("typed_words", CONFLICTS)
def test_options_that_do_not_go_together_are_named_as_they_are_typed(typed_words, capsys, place, monkeypatch):
    options = ("--hidden", 8, "--data", "d.npy", *(() if "--run" in typed_words else ("--run", "new")))
    if "cuda" in typed_words:
        monkeypatch.setattr(torch, "empty", absent)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None)
    assert CONFLICTS[typed_words] in refused(
        capsys, place, monkeypatch, "train", "gaussian", *options, *typed_words.split()
    )


def test_other_refusals_after_the_options_were_read_name_them_too(capsys, place, monkeypatch):
    found = {
        ("traverse", "run", "--index", 999): "--index is 999; the test part has the examples 0 to 19.",
        ("evaluate", "run", "--part", "validation"): "--part is 'validation', which the data of run do not have",
        ("evaluate", "run", "--device", "é"): "--device is 'é'; this machine has ",
        ("reconstruct", "run", "--input", "d.npy", "--data", "d.npy"): "--input and --data are both given",
        ("reconstruct", "run", "--input", "empty"): "--input is 'empty': ",
        ("lab", "--data", "d.npy"): "--data is 'd.npy', and no run is given. Add --run",
        ("lab", "--only", ""): "--only is '', and no estimator's name contains that",
        ("evaluate", "run", "--checkpoint", "best"): "run has no best checkpoint",
        ("train", "gausian"): "there is no preset 'gausian'. The nearest is gaussian.",
        ("train",): "no preset was given. reparam train --help lists the presets.",
        (): "no command was given. reparam --help lists the commands.",
        ("--foo",): "'--foo' stands where a command is expected.",
    }
    for words, message in found.items():
        assert message in refused(capsys, place, monkeypatch, *words)


WITH_JSON = [name for name, option in OPTIONS if option.word == "--json"]


@pytest.mark.parametrize("name", WITH_JSON)
def test_a_failure_with_json_is_one_object_on_standard_output_and_the_line(name, capsys, place, monkeypatch):
    monkeypatch.chdir(place)
    code, out, err = call(capsys, *name.split(), "--json", "--frobnicate")
    assert (code, err) == (2, f"reparam: {json.loads(out)['error']}\n")
    assert json.loads(out)["exit_code"] == 2
    assert out.count("\n") == 1
    code, out, _ = call(capsys, "evaluate", "nothing", "--json")
    assert (code, json.loads(out)["exit_code"], "holds no run" in json.loads(out)["error"]) == (2, 2, True)


def test_an_error_that_nobody_expected_is_one_line_too(capsys, monkeypatch):
    def broken(given):
        raise AssertionError("two\nlines")

    monkeypatch.setattr(entry, "parsed", broken)
    code, out, err = call(capsys, "version", "--json")
    assert (code, json.loads(out)["exit_code"]) == (1, 1)
    assert err == "reparam: unexpected AssertionError: two lines. --debug shows where\n"


def test_too_little_memory_is_told_as_such(capsys, place, monkeypatch):
    monkeypatch.chdir(place)
    words = ("train", "gaussian", "--data", "d.npy", "--latent", f"Gaussian({10**13})", "--run", "new")
    code, out, err = call(capsys, *words)
    assert (code, out) == (1, "")
    assert err.startswith("reparam: memory is full: ")
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "--num-samples", "3"], {"run": "a", "num_samples": 3}),
        (["--num_samples=3", "a"], {"run": "a", "num_samples": 3}),
        (["a", "--num-samples", "3", "--num-samples", "4"], {"run": "a", "num_samples": 4}),
        (["--json", "a"], {"run": "a", "json": True}),
        (["--data=--odd", "a"], {"run": "a", "data": "--odd"}),
        (["--data", "None", "a"], {"run": "a", "data": None}),
        (["--", "--json"], {"run": "--json"}),
        (["--seed", "007", "a"], {"run": "a", "seed": 7}),
    ],
)
def test_words_are_read_as_options_and_values(words, expected):
    options = commands()["evaluate"].options()
    found = read(words, options, "evaluate").values
    assert {name: str(value) if name == "run" else value for name, value in found.items()} == expected


def test_lists_take_the_words_up_to_the_next_option():
    options = commands()["train gaussian"].options()
    words = ["--hidden", "400", "200", "--epochs", "2", "--hidden", "--shape", "1", "8", "8", "--clip", "1e-3"]
    found = read([*words, "--resize", "None", "--weight-decay", "0"], options, "train gaussian").values
    assert found == {"hidden": (), "epochs": 2, "shape": (1, 8, 8), "clip": 1e-3, "resize": None, "weight_decay": 0.0}


def test_tyro_shows_the_options_that_are_read(capsys):
    for name, command in commands().items():
        code, shown, _ = call(capsys, *name.split(), "--help")
        assert code == 0
        for option in command.options():
            assert option.positional or option.word in shown, (name, option.word)


def test_a_message_keeps_pythons_names_in_python(tmp_path):
    experiment = rp.presets["gaussian"].replace(data=str(save_images(tmp_path / "d.npy", 20)), patience=3)
    with pytest.raises(ValueError, match=r"^patience is 3, and .* Give validation=1, or leave patience out\.$"):
        rp.train(experiment, tmp_path / "run")
    with pytest.raises(TypeError, match=r"^estimator is 'ARM\(\)': the latent is Normal; ARM takes Bernoulli\."):
        rp.train(experiment.replace(patience=0, estimator="ARM()"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
