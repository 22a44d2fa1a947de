"""Trains the tuned presets: exact test bounds against wall time, seeds 1 to 3.

    python reproductions/presets.py           # about 20 minutes on two cores; a run that is there is not repeated
    python reproductions/presets.py minutes   # those whose name contains "minutes"
    python reproductions/presets.py wall categorical-5-minutes   # seed 1, all cores: wall time

Each run has one thread, and its seconds are processor seconds of training, without the evaluation in between: they do
not depend on what else the machine does. Denormal numbers are flushed to zero: Adam's moments of rarely lit pixels
decay into them, and they are slow. Results go to `reproductions/presets.json`.
"""

import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

import reparam as rp
from reparam.experiment.build import build_estimator, build_lr, build_optimizer
from reparam.expressions import parse

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (1, 2, 3)
NAMES = [name for name in rp.presets if name.endswith(("-epochs", "-minutes"))]


def untrained(experiment: rp.Experiment, data: rp.Data) -> rp.VAE:
    """The model of `build_model`, its decoder drawn before its encoder, as in the runs whose results are kept here."""
    latent = parse(experiment.model.latent)
    decoder = rp.mlp(latent.num_features, [400], 784, output_bias=data.mean_logits())
    return rp.VAE(latent, rp.Bernoulli(784), rp.mlp(784, [400], latent.num_params), decoder)


def fit(
    experiment: rp.Experiment, model: rp.VAE, data: rp.Data, on_epoch: Callable[[rp.Epoch], object] | None = None
) -> list[rp.Epoch]:
    """Trains it as the preset says."""
    training = experiment.training
    num_steps = training.epochs * math.ceil(len(data) / training.batch_size)
    return rp.fit(
        model,
        build_estimator(experiment, num_steps),
        data,
        epochs=training.epochs,
        batch_size=training.batch_size,
        lr=build_lr(experiment, num_steps),
        optimizer=build_optimizer(experiment, model),
        on_epoch=on_epoch,
    )


def train(name: str, seed: int) -> dict[str, Any]:
    """Exact test bounds in nats along one training, and at its end also on the training images."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    preset, data = rp.presets[name], rp.mnist("grey")
    model, epochs = untrained(preset, data.train), preset.training.epochs
    found: dict[str, Any] = {"preset": name, "seed": seed, "elbo": [], "seconds": []}
    spent = 0.0
    started = time.process_time()

    def measure(epoch: rp.Epoch) -> None:
        nonlocal spent, started
        spent += time.process_time() - started
        if epoch.number % max(1, epochs // 40) == 0 or epoch.number == epochs:
            samples = 16 if epoch.number == epochs else 1
            result = rp.evaluate(model, data.test, num_samples=samples)
            found["elbo"].append(round(-result.elbo.value, 3))
            found["seconds"].append(round(spent, 2))
            if epoch.number == epochs:
                found["standard_error"] = round(result.elbo.standard_error, 3)
                found["iwae_16"] = round(-result.iwae.value, 3)
                found["train_elbo"] = round(-rp.evaluate(model, data.train[:10_000], num_samples=4).elbo.value, 3)
        started = time.process_time()

    fit(preset, model, data.train, on_epoch=measure)
    return found


def wall_time(name: str) -> float:
    """Seconds of wall time of one whole training with all cores."""
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    preset, data = rp.presets[name], rp.mnist("grey")
    return sum(epoch.seconds for epoch in fit(preset, untrained(preset, data.train), data.train))


def main() -> None:
    if sys.argv[1:2] == ["wall"]:
        results = json.loads(RESULTS.read_text())
        for name in sys.argv[2:]:
            results.setdefault("wall", {})[name] = round(wall_time(name), 1)
            print(name, results["wall"][name], "s with", torch.get_num_threads(), "threads")
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        return
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    done = {(run["preset"], run["seed"]) for run in runs}
    named = [name for name in NAMES if " ".join(sys.argv[1:]) in name]
    wanted = [(name, seed) for seed in SEEDS for name in named if (name, seed) not in done]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(train, *each) for each in wanted]):
            run = future.result()
            runs.append(run)
            print({k: v for k, v in run.items() if k not in ("elbo", "seconds")}, run["elbo"][-1], run["seconds"][-1])
            RESULTS.write_text(json.dumps({"about": {"torch": torch.__version__}, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
