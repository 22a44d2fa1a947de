"""Commands that are asked to stop, or whose output nobody reads, end in one line and with a documented code."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from commands import SMALL, call, save_images
from stopping import SIGNALS

from reparam.cli.ending import ended_by_signals
from reparam.training.checkpoint import read_checkpoint
from reparam.training.run import checkpoints


def typed(folder, **changed):
    given = dict(zip(SMALL[::2], SMALL[1::2], strict=True)) | {"--run": folder / "run", "--checkpoint-seconds": 1e9}
    given |= {"--data": save_images(folder / "d.npy"), **changed}
    return ["train", "gaussian", *(str(each) for pair in given.items() for each in pair)]


def reparam(*arguments, **streams):
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "reparam", *map(str, arguments)]
    return subprocess.Popen(command, env=place, text=True, **streams)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_training_whose_output_nobody_reads_any_more_saves(stream, tmp_path):
    """As in `reparam train ... | head -1`; with --json the lines stand on standard error."""
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    json_too = ["--json"] if stream == "stderr" else []
    with (tmp_path / "other").open("w") as file:
        given = typed(tmp_path, **{"--epochs": 500, "--batch-size": 200})
        process = reparam(*given, *json_too, **{stream: subprocess.PIPE, other: file})
        pipe = getattr(process, stream)
        assert "Gaussian latents" in pipe.readline()
        pipe.close()
        assert process.wait(60) == 130
    told = (tmp_path / "other").read_text()
    if stream == "stdout":
        assert told.endswith(f"Go on with: reparam resume {tmp_path / 'run'}\n")
        assert told.count("\n") == 1
    else:  # the one JSON object of a failure
        assert json.loads(told)["exit_code"] == 130
    assert read_checkpoint(checkpoints(tmp_path / "run")[-1])["progress"]["epoch"] > 1


def test_a_training_whose_terminal_is_closed_saves(tmp_path):
    """The system sends SIGHUP, and what is printed from then on fails."""
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "reparam", *typed(tmp_path, **{"--epochs": 500, "--batch-size": 200})]
    terminal, side = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), side)
    adopt = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", adopt, *command]
    process = subprocess.Popen(command, env=place, start_new_session=True, **streams)
    os.close(side)
    shown = b""
    while b"epoch 2/500" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(60) == 130
    assert read_checkpoint(checkpoints(tmp_path / "run")[-1])["progress"]["step"] > 0


@pytest.mark.parametrize("arguments", [("data", "list"), ("version",), ("--help",), ("evaluate", "nothing")], ids=str)
def test_commands_whose_output_nobody_reads_end_without_a_word(arguments):
    """Both streams are pipes that were closed before the command printed."""
    ends = [os.pipe() for _ in range(2)]
    for read, _ in ends:
        os.close(read)
    process = reparam(*arguments, stdout=ends[0][1], stderr=ends[1][1])
    for _, write in ends:
        os.close(write)
    assert process.wait(60) == (2 if arguments[0] == "evaluate" else 1)


MOMENTS = {
    "the data": "reparam.runs.training.data_of",
    "the model": "reparam.runs.training.build_model",
    "the test data's bounds": "reparam.runs.training.evaluate",
}


@pytest.mark.parametrize("number", SIGNALS[::2], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_outside_of_the_training_ends_the_command_in_one_line(moment, number, capsys, tmp_path, monkeypatch):
    before = signal.getsignal(number)
    monkeypatch.setattr(MOMENTS[moment], lambda *args, **kwargs: signal.raise_signal(number))
    code, _, err = call(capsys, *typed(tmp_path))
    assert code == 130
    run = tmp_path / "run"
    if checkpoints(run):
        assert (
            err == f"reparam: ended by {number.name}. {run} keeps its checkpoints. Go on with: reparam resume {run}\n"
        )
    else:
        assert err == f"reparam: ended by {number.name}.\n"
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    assert call(capsys, *(("resume", run) if checkpoints(run) else typed(tmp_path)))[0] == 0


def test_a_signal_ends_other_commands_in_one_line(capsys, tmp_path, monkeypatch):
    assert call(capsys, *typed(tmp_path))[0] == 0
    monkeypatch.setattr("reparam.runs.measuring.evaluate", lambda *args, **kwargs: signal.raise_signal(signal.SIGTERM))
    assert call(capsys, "evaluate", tmp_path / "run") == (130, "", "reparam: ended by SIGTERM.\n")


def test_a_second_signal_does_not_break_off_the_cleaning_up_after_the_first():
    @ended_by_signals()
    def cleaning_up():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match="ended by SIGTERM"):
        cleaning_up()
