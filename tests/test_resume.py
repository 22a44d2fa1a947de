"""A training that was killed, stopped or damaged goes on, and ends in the same bits as one that was not."""

import errno
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from helpers import small_vae
from helpers import weights as weights_of
from resuming import train
from torch.utils.data import DataLoader, TensorDataset

import reparam as rp
from reparam import _files as files
from reparam.training.checkpoint import DamagedCheckpoint, read_checkpoint
from reparam.training.run import checkpoints

KILLS, LONG = 25, 60  # epochs of 24 steps
PROCESSES = multiprocessing.get_context("forkserver")  # forks of one process that has imported everything once
PROCESSES.set_forkserver_preload(["resuming"])


@pytest.fixture(scope="module", autouse=True)
def _forkserver():
    with pytest.MonkeyPatch.context() as patch:
        tests = Path(__file__).parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent)]))
        forkserver.ensure_running()
        yield


def metrics(folder):
    """Every line, without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("images_per_second", "seconds")} for line in lines]


def last_weights(folder):
    tree = read_checkpoint(checkpoints(folder)[-1])
    return {**tree["model"], **tree["estimator"]}


def assert_same_end(folder, reference):
    one, other = last_weights(folder), last_weights(reference)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert metrics(folder) == metrics(reference)
    best = [read_checkpoint(each / "checkpoints" / "best.safetensors") for each in (folder, reference)]
    assert all(torch.equal(best[0]["model"][name], best[1]["model"][name]) for name in best[0]["model"])


def run_to_the_end(folder, **options):
    process = PROCESSES.Process(target=train, args=(folder,), kwargs={"epochs": 20, **options})
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run that was never stopped; it saves but rarely, which must make no difference."""
    folder = tmp_path_factory.mktemp("runs") / "reference"
    assert run_to_the_end(folder, checkpoint_seconds=1e9) == 0
    return folder


def state_on_disk(folder):
    path = folder / "checkpoints"
    return sorted(each.name for each in path.glob("step-*.safetensors")) if path.exists() else []


def test_25_kills_at_random_moments_change_no_bit(tmp_path):
    """A checkpoint is written at each step, so that most kills fall into a write."""
    whole, folder, rng, kills = tmp_path / "whole", tmp_path / "run", random.Random(1), 0
    assert run_to_the_end(whole, epochs=LONG, checkpoint_seconds=1e9) == 0
    while kills < KILLS:
        before = state_on_disk(folder)
        process = PROCESSES.Process(target=train, args=(folder,), kwargs={"epochs": LONG})
        process.start()
        while process.is_alive() and state_on_disk(folder) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        assert process.is_alive(), "it ended before it was killed often enough"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert run_to_the_end(folder, epochs=LONG, checkpoint_seconds=1e9) == 0
    assert_same_end(folder, whole)


def go_on(folder):
    """To the end, saving but once."""
    return train(folder, epochs=20, checkpoint_seconds=1e9)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The same run, stopped after 10 of 20 epochs, with two checkpoints."""
    folder = tmp_path_factory.mktemp("half") / "run"
    assert run_to_the_end(folder, epochs=10) == 0
    return folder


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_is_used(how, tmp_path, half, reference):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    newest = checkpoints(folder)[-1]
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes({"cut": content[:-50], "flipped": content, "empty": b""}[how])
    with pytest.raises(DamagedCheckpoint, match=re.escape(newest.name)):
        read_checkpoint(newest)
    with pytest.warns(UserWarning, match=rf"{re.escape(newest.name)} is damaged .*The checkpoint before it is used"):
        go_on(folder)
    assert_same_end(folder, reference)


def test_a_run_whose_checkpoints_are_all_damaged_says_so_and_does_not_begin_anew(tmp_path, half):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    before = (folder / "metrics.jsonl").read_bytes()
    with (
        pytest.raises(DamagedCheckpoint, match=r"no checkpoint of .* is whole"),
        pytest.warns(UserWarning, match="is damaged"),
    ):
        train(folder, epochs=20)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_the_best_checkpoint_is_the_last_resort(tmp_path, half, reference):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    for path in checkpoints(folder):
        path.unlink()
    with pytest.warns(UserWarning, match="has no checkpoint but the best one, which is used"):
        go_on(folder)
    assert_same_end(folder, reference)


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(tmp_path, half):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(DamagedCheckpoint, match=r"no checkpoint of .* is whole"):
        go_on(folder)


def test_edited_metrics_are_cut_at_a_line(tmp_path, half, reference):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:3]) + lines[3][:10])
    go_on(folder)
    assert metrics(folder) == metrics(reference)[:3] + metrics(reference)[len(lines) :]


def test_resuming_what_is_done_leaves_the_random_numbers_as_they_were(tmp_path, half, reference):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    train(folder, epochs=10)
    go_on(folder)
    assert_same_end(folder, reference)


def test_a_kill_before_the_record_is_whole_is_no_hindrance(tmp_path, reference):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".reparam-0123456789abcdef.part").write_text("{")
    go_on(folder)
    assert_same_end(folder, reference)


@pytest.mark.parametrize("kind", ["channels_last", "raw tensors"])
def test_weights_of_any_layout_and_anywhere_are_resumed(kind, tmp_path):
    def trained(folder, stop_at=None):
        torch.manual_seed(1)
        if kind == "raw tensors":
            model = Loose()
            parameters = model.weights["all"]
        else:
            latent = rp.Gaussian(2)
            shape = (1, 4, 4)
            encoder = rp.conv_encoder(shape, 4, channels=[4, 8])
            model = rp.VAE(latent, rp.Bernoulli(shape), encoder, rp.mlp(2, [8], 16)).to(
                memory_format=torch.channels_last
            )
            parameters = list(model.parameters())
        x = torch.rand(40, *((6,) if kind == "raw tensors" else (1, 4, 4)))

        def stop(epoch):
            if epoch.number == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        optimizer = torch.optim.Adam(parameters, lr=1e-2, fused=True)
        run = rp.Run(folder, resume=True, pictures=False)
        rp.fit(model, rp.Pathwise(), x, epochs=4, batch_size=8, optimizer=optimizer, run=run, on_epoch=stop)
        return torch.cat([p.detach().flatten() for p in parameters])

    whole = trained(tmp_path / "whole")
    with pytest.raises(rp.Interrupted):
        trained(tmp_path / "stopped", stop_at=2)
    assert torch.equal(trained(tmp_path / "stopped"), whole)


class Loose:
    """A model that is no module, its weights in a dictionary of lists."""

    def __init__(self):
        self.weights = {"all": [torch.randn(6, 4).requires_grad_(), torch.randn(2, 6).requires_grad_()]}

    def prior(self):
        return rp.Gaussian(2).standard(torch.zeros(4))

    def posterior(self, x):
        return rp.Gaussian(2)(x @ self.weights["all"][0])

    def likelihood(self, z):
        return rp.Bernoulli(6).likelihood(z @ self.weights["all"][1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number, tmp_path, reference):
    def send(epoch):
        if epoch.number == 3:
            os.kill(os.getpid(), number)

    folder = tmp_path / "run"
    if number == signal.SIGINT:  # which is ignored where the tests themselves run in the background
        signal.signal(number, signal.default_int_handler)
    handlers = signal.getsignal(number)
    with pytest.raises(rp.Interrupted, match=f"step 72, nothing is lost. Go on with: .*{folder}") as caught:
        train(folder, epochs=20, also=send, checkpoint_seconds=1e9)
    assert (caught.value.step, caught.value.run) == (72, folder)
    assert signal.getsignal(number) is handlers
    history, _ = go_on(folder)
    assert [epoch.number for epoch in history] == list(range(1, 21))
    assert_same_end(folder, reference)


@pytest.mark.parametrize("moment", ["write", "sync", "rename", "remove"])
def test_a_full_disk_stops_the_training_and_loses_nothing(moment, tmp_path, reference, monkeypatch):
    """The disk is full at the 40th write of a checkpoint; when there is room again, the run goes on."""
    folder, calls = tmp_path / "run", []
    function = {"write": "write_bytes", "sync": "fsync", "rename": "replace", "remove": "unlink"}[moment]

    def full(*args, **kwargs):
        calls.append(args)
        if len(calls) == 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **kwargs)

    where = os if moment == "sync" else Path
    if moment == "write":
        where, function = files, "_write"
    original = getattr(where, function)
    monkeypatch.setattr(where, function, full)
    with pytest.raises(OSError, match="No space left on device"):
        train(folder, epochs=20)
    monkeypatch.undo()
    assert not list((folder / "checkpoints").glob(files.UNFINISHED))
    assert read_checkpoint(checkpoints(folder)[-1])
    go_on(folder)
    assert_same_end(folder, reference)


def test_a_longer_training_goes_on_from_the_end(tmp_path, half, reference):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 10
    history, _ = go_on(folder)
    assert [epoch.number for epoch in history] == list(range(1, 21))
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 20
    assert_same_end(folder, reference)


def test_a_finished_run_is_not_trained_again(tmp_path, half):
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    before = last_weights(folder)
    history, weights = train(folder, epochs=10)
    assert len(history) == 10
    assert all(torch.equal(weights[name], before[name]) for name in before)


def test_a_loader_of_the_users_is_resumed_at_its_batch(tmp_path):
    """A DataLoader draws its order from torch's random numbers when a pass begins; the batches done are skipped."""

    def trained(folder, stop_at=None):
        torch.manual_seed(1)
        model = small_vae(rp.Gaussian(2))
        x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
        own = torch.Generator().manual_seed(3)
        loader, steps = DataLoader(TensorDataset(x), batch_size=8, shuffle=True, generator=own), []

        class Counting:
            def __call__(self, model, x):
                steps.append(1)
                if len(steps) == stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                return rp.Pathwise()(model, x)

            def at(self, step):
                return self

        rp.fit(model, Counting(), loader, epochs=3, run=rp.Run(folder, resume=True, pictures=False))
        return weights_of(model), metrics(folder)

    whole = trained(tmp_path / "whole")
    with pytest.raises(rp.Interrupted):
        trained(tmp_path / "stopped", stop_at=8)
    weights, lines = trained(tmp_path / "stopped")
    assert torch.equal(weights, whole[0])
    assert lines == whole[1]
