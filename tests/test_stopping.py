"""A training that is asked to stop saves and says how to go on, whoever asks and whatever it is doing."""

import importlib
import json
import multiprocessing
import os
import signal
from multiprocessing import forkserver
from pathlib import Path

import pytest
import stopping
import torch
from helpers import small_vae, weights
from resuming import train as train_with_state
from stopping import SIGNALS
from torch.utils.data import DataLoader

import reparam as rp
from reparam.training.checkpoint import read_checkpoint
from reparam.training.run import checkpoints

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["stopping", "resuming"])


@pytest.fixture(scope="module", autouse=True)
def _forkserver():
    with pytest.MonkeyPatch.context() as patch:
        tests = Path(__file__).parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent)]))
        forkserver.ensure_running()
        yield


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal; it is ignored where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def metrics(folder):
    """Every line, without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("images_per_second", "seconds")} for line in lines]


def ended(folder, function, *arguments):
    """How a training in a process group of its own ended."""
    outcome = folder.with_suffix(".outcome")
    process = PROCESSES.Process(target=stopping.in_a_group, args=(outcome, function, *arguments))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return outcome.read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights and metrics of the training that was never stopped, without and with a validation."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for name, validation in (("plain", None), ("validated", stopping.Examples(number=80))):
        found[name] = (stopping.train(folder / name, validation=validation), metrics(folder / name))
    return found


def assert_goes_on(folder, whole, validation=None):
    assert torch.equal(stopping.train(folder, validation=validation), whole[0])
    assert metrics(folder) == whole[1]


@pytest.mark.parametrize("step", [0, 19], ids=["first step", "last of an epoch"])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_to_the_group_ends_the_workers_and_loses_nothing(number, step, whole, tmp_path):
    folder = tmp_path / "run"
    told = ended(folder, stopping.signalled_in_step, folder, step, number)
    assert told.startswith(f"Interrupted: stopped after step {step + 1}, nothing is lost")
    assert_goes_on(folder, whole["plain"])


def test_a_signal_to_the_group_while_a_batch_is_loaded_loses_nothing(whole, tmp_path):
    folder = tmp_path / "run"
    assert ended(folder, stopping.signalled_while_loading, folder, signal.SIGTERM).startswith("Interrupted: ")
    assert_goes_on(folder, whole["plain"])


def test_a_signal_to_the_group_in_the_validation_loses_nothing(whole, tmp_path):
    """The epoch is measured again, and each of its lines stands once in the metrics."""
    folder = tmp_path / "run"
    told = ended(folder, stopping.signalled_while_validating, folder, signal.SIGTERM)
    assert told.startswith("Interrupted: stopped after step 20, nothing is lost")
    assert_goes_on(folder, whole["validated"], stopping.Examples(number=80))


def test_a_signal_may_reach_a_worker_first(whole, tmp_path):
    folder = tmp_path / "run"
    assert ended(folder, stopping.worker_first, folder).startswith("Interrupted: ")
    assert_goes_on(folder, whole["plain"])


def test_a_worker_that_is_killed_alone_is_an_error_and_the_run_stays(whole, tmp_path):
    folder = tmp_path / "run"
    assert ended(folder, stopping.worker_alone, folder).startswith("RuntimeError: DataLoader worker")


@pytest.mark.parametrize("option", [{"persistent_workers": True}, {"in_order": False}], ids=str)
def test_a_loader_that_cannot_repeat_its_batches_is_named(option, tmp_path):
    data = DataLoader(stopping.Examples(), 80, num_workers=1, **option)
    (name,) = option
    with pytest.warns(UserWarning, match=rf"{name}=.*does not end in the same bits"):
        rp.fit(small_vae(rp.Gaussian(2)), rp.Pathwise(), data, epochs=1, run=tmp_path / "run")
    rp.fit(small_vae(rp.Gaussian(2)), rp.Pathwise(), data, epochs=1)  # nothing is resumed without a run


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run with everything that has a state, never stopped."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    process = PROCESSES.Process(target=train_with_state, args=(folder,), kwargs={"epochs": 3})
    process.start()
    process.join(60)
    return folder


def newest(folder):
    tree = read_checkpoint(checkpoints(folder)[-1])
    return {**tree["model"], **tree["estimator"]}


def raising(monkeypatch, place, number, error):
    """Lets the function at `place` raise at its call of this number, counted from 1."""
    module, _, name = place.rpartition(".")
    original, calls = getattr(importlib.import_module(module), name), []

    def called(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(place, called)


PLACES = {
    "the validation": ("reparam.training.validation.evaluate", 2),
    "its line": ("reparam.training.keeper.named", 2),
    "a picture": ("reparam.training.keeper.save_image_grid", 4),
    "a checkpoint": ("reparam.training.checkpoint.write_whole", 3),
}


@pytest.mark.parametrize("place", PLACES)
def test_ctrl_c_between_two_steps_saves(place, reference, tmp_path, monkeypatch):
    """That is a second one: the first is noted. What it breaks off is done again by the resumed training."""
    folder = tmp_path / "run"
    raising(monkeypatch, *PLACES[place], KeyboardInterrupt())
    with pytest.raises(rp.Interrupted, match="nothing is lost"):
        train_with_state(folder, epochs=3, checkpoint_seconds=1e9)
    monkeypatch.undo()
    train_with_state(folder, epochs=3)
    one, other = newest(folder), newest(reference)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert metrics(folder) == metrics(reference)


class Failing:
    """The pathwise estimator, which raises in one step."""

    def __init__(self, step, error):
        self.bad, self.error, self.step = step, error, 0

    def at(self, step):
        self.step = step
        return self

    def __call__(self, model, x):
        if self.step == self.bad:
            raise self.error
        return rp.Pathwise()(model, x)


def small_run(folder, estimator=None, **options):
    torch.manual_seed(1)
    model, x = small_vae(rp.Gaussian(2)), torch.rand(40, 6)
    run = rp.Run(folder, pictures=False, **{"checkpoint_seconds": 1e9, "resume": True, **options.pop("how", {})})
    rp.fit(model, estimator or Failing(-1, None), x, epochs=2, batch_size=8, run=run, **options)
    return weights(model)


@pytest.fixture(scope="module")
def small_whole(tmp_path_factory):
    """The weights that it ends with."""
    return small_run(tmp_path_factory.mktemp("small") / "run")


ERRORS = [RuntimeError("no kernel"), MemoryError("no room"), KeyError("none"), OSError("no file"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_run_whose_first_step_fails_does_not_stand_in_the_way(error, tmp_path):
    how = {"resume": False}
    with pytest.raises(type(error)) as caught:
        small_run(tmp_path / "run", Failing(0, error), how=how)
    assert caught.value is error
    small_run(tmp_path / "run", how=how)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("often", [0, 1e9], ids=["at each step", "at the beginning"])
def test_a_run_that_fails_later_keeps_its_last_checkpoint(often, error, small_whole, tmp_path):
    with pytest.raises(type(error)) as caught:
        small_run(tmp_path / "run", Failing(7, error), how={"checkpoint_seconds": often})
    assert caught.value is error
    assert read_checkpoint(checkpoints(tmp_path / "run")[-1])["progress"]["step"] == (0 if often else 7)
    assert torch.equal(small_run(tmp_path / "run"), small_whole)


@pytest.mark.parametrize("error", [*ERRORS[:4], BrokenPipeError(32, "Broken pipe"), KeyboardInterrupt()], ids=repr)
def test_what_on_epoch_raises(error, small_whole, tmp_path):
    """An interruption and a reader that has gone are wishes to stop; anything else is the user's error."""
    stops = isinstance(error, BrokenPipeError | KeyboardInterrupt)

    def fail(epoch):
        raise error

    with pytest.raises(rp.Interrupted if stops else type(error)):
        small_run(tmp_path / "run", on_epoch=fail)
    assert read_checkpoint(checkpoints(tmp_path / "run")[-1])["progress"]["step"] == (5 if stops else 0)
    assert torch.equal(small_run(tmp_path / "run"), small_whole)
    with pytest.raises(type(error)):  # without a run there is nothing to go on with
        rp.fit(small_vae(rp.Gaussian(2)), rp.Pathwise(), torch.rand(8, 6), epochs=1, on_epoch=fail)


def test_a_second_ctrl_c_does_not_wait_for_the_step_to_end(small_whole, tmp_path, ctrl_c, monkeypatch):
    patient = Failing.__call__

    def impatient(self, model, x):
        if self.step == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return patient(self, model, x)

    monkeypatch.setattr(Failing, "__call__", impatient)
    with pytest.raises(KeyboardInterrupt) as caught:
        small_run(tmp_path / "run")
    monkeypatch.undo()
    assert not isinstance(caught.value, rp.Interrupted)
    assert torch.equal(small_run(tmp_path / "run"), small_whole)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_that_comes_too_late_is_passed_on(number, tmp_path, monkeypatch):
    """It comes while the summary is written; the training has ended, what follows has not."""
    heard = []
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        monkeypatch.setattr("reparam.training.run.Folder.summary", lambda *_: signal.raise_signal(number))
        small_run(tmp_path / "run")
    finally:
        signal.signal(number, before)
    assert heard == [number]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_that_is_ignored_stays_ignored(number, tmp_path):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        small_run(tmp_path / "run", on_epoch=lambda epoch: signal.raise_signal(number))
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
