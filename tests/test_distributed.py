"""Two gloo processes on this machine train as one does."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import ranks
import torch
from processes import started
from ranks import metrics

from reparam import runs
from reparam.training.checkpoint import read_checkpoint
from reparam.training.randomness import random_state, set_random_state
from reparam.training.run import checkpoints
from reparam.training.session import Session

TESTS = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def _forkserver():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
        yield


def close(one, other, tolerance):
    return all(np.allclose(one[name], other[name], rtol=0, atol=tolerance, equal_nan=True) for name in one | other)


@pytest.mark.parametrize("name", ["pathwise", "nvil", "relax", "average"])
def test_two_processes_take_the_steps_of_one_for_the_same_noise(tmp_path, name):
    lines, weights = ranks.trained_with_fixed_noise(None, name, tmp_path / "one")
    found = processes.ranks(2, ranks.trained_with_fixed_noise, name, tmp_path / "two")
    assert len(lines) >= 8 * 3
    for each_lines, each_weights in found:
        np.testing.assert_allclose(each_lines, lines, rtol=1e-12)
        assert close(each_weights, weights, 1e-12)
    assert found[0] == found[1]


def test_the_loss_falls_as_that_of_one_process_with_noise_that_differs_by_rank():
    alone = np.array([ranks.loss_curve(None, seed)[0] for seed in range(8)])
    (losses, weights, next_0), (losses_1, weights_1, next_1) = processes.ranks(2, ranks.loss_curve, slurm=True)
    assert (losses, weights) == (losses_1, weights_1)
    spread = alone.std(0, ddof=1) * math.sqrt(1 + 1 / len(alone))
    assert (abs(np.array(losses) - alone.mean(0)) < 4 * spread).all()
    assert alone.mean(0)[0] - alone.mean(0)[-1] > 8 * spread[-1]  # and it could have been told apart
    assert next_0 != next_1


def test_an_evaluation_is_shared_and_counts_each_example_once():
    value, error, noise, number = ranks.evaluated(None)
    found = processes.ranks(2, ranks.evaluated)
    assert found[0] == found[1]
    assert found[0][3] == number == 37
    assert abs(found[0][0] - value) < 4 * math.hypot(noise, found[0][2])
    assert found[0][0] != value
    assert found[0][1] == pytest.approx(error, rel=0.1)


def test_what_one_process_cannot_evaluate_ends_all():
    found = processes.ranks(2, ranks.evaluated, 37, 3)
    assert found[0] == found[1]
    assert found[0].startswith("ValueError: example")


def test_a_validation_is_shared():
    assert processes.ranks(2, ranks.validated) == [2, 1]


def test_an_error_of_one_process_in_shared_work_ends_all():
    assert processes.ranks(2, ranks.shared) == ["ValueError: no number"] * 2


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run that was never stopped, and what its processes returned."""
    folder = tmp_path_factory.mktemp("runs") / "reference"
    found = processes.ranks(2, ranks.trained_run, folder, {"checkpoint_seconds": 1e9})
    assert found[0] == found[1]
    return folder, found[0]


def test_one_process_writes_the_run_for_both(reference):
    folder, (losses, _) = reference
    lines = metrics(folder)
    assert [line["step"] for line in lines if line["kind"] == "train"] == [5, 10, 18, 23, 31, 36]
    assert [-line.get("surrogate", line.get("elbo")) for line in lines if line["kind"] == "epoch"] == losses
    assert [line["num_examples"] for line in lines if line["kind"] == "validation"] == [30] * 3
    tree = read_checkpoint(checkpoints(folder)[-1])
    states = [each["now"]["torch"] for each in tree["ranks"]]
    assert len(states) == 2
    assert not torch.equal(*states)


def test_kills_of_both_processes_change_no_bit(tmp_path, reference):
    folder, expected = reference
    path = tmp_path / "run"
    for number in (4, 14, 21):  # steps after which a checkpoint is there, in the middle of an epoch and at its end
        with started(2, ranks.trained_run, path) as running:
            deadline = time.monotonic() + processes.SECONDS
            while not any(int(each.name[5:14]) >= number for each in checkpoints(path)):
                assert time.monotonic() < deadline
                time.sleep(0.002)
            for process, _ in running:
                os.kill(process.pid, signal.SIGKILL)
            for process, _ in running:
                process.join(processes.SECONDS)
                assert process.exitcode == -signal.SIGKILL
    found = processes.ranks(2, ranks.trained_run, path)
    assert found == [expected, expected]
    assert metrics(path) == metrics(folder)


def test_a_signal_to_one_process_stops_both_and_saves(tmp_path):
    path, options = tmp_path / "run", {"checkpoint_seconds": 1e9}
    found = processes.ranks(2, ranks.trained_run, path, options, 3, (14, 1, signal.SIGTERM))
    assert found[0] == found[1]
    assert found[0].startswith("Interrupted: stopped after step 20")
    tree = read_checkpoint(checkpoints(path)[-1])
    assert (tree["progress"]["step"], tree["progress"]["batch"]) == (20, 7)
    assert [each["sizes"].tolist() for each in tree["ranks"]] == [[8] * 7] * 2
    assert not torch.equal(*(each["losses"] for each in tree["ranks"]))


def test_a_loss_that_is_nan_in_one_process_stops_both(tmp_path):
    found = processes.ranks(2, ranks.trained_run, tmp_path / "run", {}, 3, (7, 1, "nan"))
    assert all(each.startswith("TrainingDiverged: training stopped at step 7 with loss nan") for each in found)


def test_what_the_first_process_refuses_all_refuse(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("dear")
    found = processes.ranks(2, ranks.trained_run, tmp_path / "run")
    assert found[0] == found[1]
    assert "is not empty and holds no run" in found[0]


def test_another_number_of_processes_goes_on_with_a_warning(tmp_path):
    path = tmp_path / "run"
    processes.ranks(2, ranks.trained_run, path, {}, 3, (14, 0, signal.SIGTERM))
    with pytest.warns(UserWarning, match="saved by 2 processes and goes on with 1"):
        losses, _ = ranks.trained_run(None, path, {}, 3, (-1, 0, "never"))
    steps = [line["step"] for line in metrics(path) if line["kind"] == "epoch"]
    assert steps == [13, 26, 39]
    assert losses[0] > losses[1] > losses[2]
    found = processes.ranks(2, ranks.trained_run, path, {}, 4, (-1, 0, "never"))  # and back
    assert found[0] == found[1]
    assert found[0][0][:3] == losses


def test_three_processes_take_over_the_epoch_of_two():
    saved = [
        {"losses": torch.tensor([1.0, 2.0]), "sizes": torch.tensor([1, 2])},
        {"losses": torch.tensor([4.0, 5.0]), "sizes": torch.tensor([3, 2])},
    ]
    state = random_state(torch.device("cpu"))
    saved = [{**each, "epoch_start": state, "now": state} for each in saved]
    found, begun = [], []
    for rank in range(3):
        place = SimpleNamespace(rank=rank, world=3)
        session = Session(None, None, None, torch.device("cpu"), place)
        with pytest.warns(UserWarning, match="goes on with 3") if rank == 0 else nullcontext():
            found.append(session._mine(saved))
        session.order_is_drawn()
        begun.append(torch.rand(1).item())
    assert found[0]["losses"].tolist() == [(1 + 12) / 4, (4 + 10) / 4]
    assert [each["sizes"] for each in found] == [[4, 4], [0, 0], [0, 0]]
    set_random_state(state, torch.device("cpu"))
    assert begun[0] == torch.rand(1).item()  # the first one keeps its stream
    assert len(set(begun)) == 3


def test_a_loader_must_give_each_process_its_part():
    found = processes.ranks(2, ranks.trained_on_loader, False)
    assert found[0] == found[1]
    assert "DistributedSampler" in found[0]
    one, other = processes.ranks(2, ranks.trained_on_loader, True)
    for epoch in (slice(20), slice(20, 40)):
        assert sorted(one[epoch] + other[epoch]) == list(range(40))
    assert one[:20] != one[20:]  # another order


@pytest.mark.parametrize("launcher", [[], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]])
def test_an_experiment_trains_on_two_devices_however_it_is_started(tmp_path, launcher):
    data = tmp_path / "images.npy"
    np.save(data, np.random.default_rng(0).integers(0, 256, (240, 6, 6), dtype=np.uint8))
    command = [sys.executable, *launcher, str(TESTS / "ranks.py"), str(tmp_path / "run"), str(data)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=processes.SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    kind = "TorchElasticEnvironment" if launcher else "LightningEnvironment"
    found = [json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2)]
    assert found == [[kind, summary["test"]["num_examples"]]] * 2
    assert runs.load(tmp_path / "run").prior().sample().shape == (5,)
