"""Trains the two discrete examples' models with every estimator: the table in docs/estimators.md, the README's figure.

    python reproductions/estimators.py              # about two hours on two cores; a run that is there is not repeated
    python reproductions/estimators.py --only RLOO --seeds 1

The examples' network and optimiser: 784-400-latent-400-784, Adam 1e-3, batch 128, 10 epochs, grey MNIST, seeds 1 to 3.
Each run has one thread, and its seconds are processor seconds of training, without evaluation: they do not depend on
what else the machine does. Results go to `reproductions/estimators.json`.
"""

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

import reparam as rp
from reparam.catalogue import ENTRIES

RESULTS = Path(__file__).with_suffix(".json")
LATENTS: dict[str, rp.Family] = {"Bernoulli": rp.Bernoulli(20), "Categorical": rp.Categorical(20, 10)}
SEEDS = (1, 2, 3)
# 2**20 and 10**20 states; 181 decodings for each sample, about an hour a run
LEFT_OUT = {("Bernoulli", "Enumerate()"), ("Categorical", "Enumerate()"), ("Categorical", "LocalExpectation()")}


def train(kind: str, name: str, seed: int, epochs: int = 10) -> dict[str, Any]:
    """One run: exact test bounds in nats after each epoch, and the seconds of training until then."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = rp.mnist("grey")
    latent = LATENTS[kind]
    encoder = rp.mlp(784, [400], latent.num_params)
    model = rp.VAE(latent, rp.Bernoulli(784), encoder, rp.mlp(latent.num_features, [400], 784))
    estimator = next(entry for entry in ENTRIES if entry.name == name).make(latent.num_features, (784,))
    found: dict[str, Any] = {"latent": kind, "estimator": name, "seed": seed, "elbo": [], "iwae_16": [], "seconds": []}
    spent = 0.0
    started = time.process_time()

    def measure(epoch: rp.Epoch) -> None:
        nonlocal spent, started
        spent += time.process_time() - started
        last = epoch.number == epochs
        result = rp.evaluate(model, data.test, num_samples=16 if last else 1)
        found["elbo"].append(round(-result.elbo.value, 3))
        if last:
            found["iwae_16"] = round(-result.iwae.value, 3)
        found["seconds"].append(round(spent, 2))
        started = time.process_time()

    try:
        rp.fit(model, estimator, data.train, epochs=epochs, on_epoch=measure)
    except rp.TrainingDiverged as error:
        found["diverged"] = str(error)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the estimators' names")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    options = parser.parse_args()
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    done = {(run["latent"], run["estimator"], run["seed"]) for run in runs}
    wanted = [
        (kind, entry.name, seed)
        for seed in options.seeds
        for kind in LATENTS
        for entry in ENTRIES
        if kind in entry.latents and options.only in entry.name and (kind, entry.name) not in LEFT_OUT
    ]
    about = {"torch": torch.__version__, "command": "python reproductions/estimators.py"}
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(train, *run) for run in wanted if run not in done]):
            run = future.result()
            runs.append(run)
            print(run["latent"], run["estimator"], run["seed"], run["elbo"][-1:], run["seconds"][-1:], flush=True)
            RESULTS.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
