"""The command line: it answers, and errors are one line."""

import csv
import sys

import pytest

from reparam import cli


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["reparam", *map(str, arguments)])
    cli.main()


@pytest.mark.parametrize("latent", ["bernoulli", "categorical", "gaussian"])
def test_lab_measures_and_advises(latent, monkeypatch, capsys, tmp_path):
    files = ("--csv", tmp_path / "lab.csv", "--figure", tmp_path / "lab.png")
    options = ("--latent", latent, "--steps", 5, "--repeats", 20, "--examples", 4)
    run(monkeypatch, "lab", *options, *files, "--only", "RLOO")
    printed = capsys.readouterr().out
    assert "error at equal time" in printed
    assert "elbo: use RLOO" in printed
    assert f"wrote {tmp_path / 'lab.png'}" in printed
    names = {row["name"] for row in csv.DictReader((tmp_path / "lab.csv").read_text().splitlines())}
    assert names == {"RLOO(num_samples=4)", "RLOO(num_samples=2)", "RLOO(num_samples=8)"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "gumbo"), "reparam: no estimator's name contains gumbo. There are: "),
        (("--repeats", 3), "reparam: repeats is 3; it must be at least 20."),
        (("--csv", "pyproject.toml"), "reparam: pyproject.toml exists already, and nothing is overwritten."),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(options, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        run(monkeypatch, "lab", "--steps", 0, *options)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(message)


def test_version(monkeypatch, capsys):
    run(monkeypatch, "version")
    assert capsys.readouterr().out.count(".") == 2
