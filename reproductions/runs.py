"""What the scripts beside this one share: trainings in parallel, each of one thread, kept in a JSON file."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

import reparam as rp

SEEDS = (1, 2, 3)
WORKERS = int(os.environ.get("WORKERS", "2"))


def trained(model: Any, estimator: rp.Estimator, data: rp.Data, **options: Any) -> float:
    """Trains on one thread; processor seconds, which do not depend on what else the machine does."""
    started = time.process_time()
    rp.fit(model, estimator, data, **options)
    return round(time.process_time() - started, 1)


def begin(seed: int) -> None:
    """One thread, this seed; denormal numbers, into which Adam's moments of rarely lit pixels decay, are zero."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)


def bounds(model: Any, data: rp.Data, num_samples: int) -> dict[str, Any]:
    """Negative test bounds in nats per image, and what else `evaluate` finds."""
    found = rp.evaluate(model, data, num_samples=num_samples, max_rows=8192)
    return {
        "elbo": round(-found.elbo.value, 3),
        f"L_{num_samples}": round(-found.iwae.value, 3),
        "standard_error": round(found.iwae.standard_error, 3),
        "rate": round(found.rate.value, 3),
        "active_units": found.active_units,
    }


def run_missing(results: Path, train: Callable[[str, int], dict[str, Any]], names: list[str]) -> None:
    """Trains each name with each seed, seed by seed; what the file holds already is not repeated."""
    runs = json.loads(results.read_text())["runs"] if results.exists() else []
    done = {(run["name"], run["seed"]) for run in runs}
    wanted = [(name, seed) for seed in SEEDS for name in names if (name, seed) not in done]
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(train, *each) for each in wanted]):
            runs.append(future.result())
            print(runs[-1], flush=True)
            results.write_text(json.dumps({"about": {"torch": torch.__version__}, "runs": runs}, indent=1) + "\n")
