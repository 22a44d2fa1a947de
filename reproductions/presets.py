"""Trains the presets: exact test bounds against wall time, seeds 1 to 3.

    python reproductions/presets.py           # about 45 minutes on two cores; writes reproductions/presets.json
    python reproductions/presets.py minutes   # those whose name contains "minutes"

One run at a time, with all cores. Seconds are wall time of training, without the evaluation after each epoch. Denormal
numbers are flushed to zero, which Adam's moments of rarely lit pixels decay into.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

import reparam as rp

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (1, 2, 3)


def train(name: str, seed: int) -> dict[str, Any]:
    """Exact test bounds in nats along one training, and at its end also on the training images."""
    torch.manual_seed(seed)
    preset, data = rp.presets[name], rp.mnist("grey")
    model = preset.build(data.train)
    found: dict[str, Any] = {"preset": name, "seed": seed, "elbo": [], "seconds": []}
    spent = 0.0

    def measure(epoch: rp.Epoch) -> None:
        nonlocal spent
        spent += epoch.seconds
        if epoch.number % max(1, preset.epochs // 40) == 0 or epoch.number == preset.epochs:
            samples = 16 if epoch.number == preset.epochs else 1
            result = rp.evaluate(model, data.test, num_samples=samples)
            found["elbo"].append(round(-result.elbo.value, 3))
            found["seconds"].append(round(spent, 2))
            if epoch.number == preset.epochs:
                found["standard_error"] = round(result.elbo.standard_error, 3)
                found["iwae_16"] = round(-result.iwae.value, 3)
                found["train_elbo"] = round(-rp.evaluate(model, data.train[:10_000], num_samples=4).elbo.value, 3)

    preset.fit(model, data.train, on_epoch=measure)
    return found


def main() -> None:
    torch.set_flush_denormal(True)
    wanted = [name for name in rp.presets if " ".join(sys.argv[1:]) in name]
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    for name in wanted:
        for seed in SEEDS:
            runs = [run for run in runs if (run["preset"], run["seed"]) != (name, seed)] + [train(name, seed)]
            print({k: v for k, v in runs[-1].items() if k not in ("elbo", "seconds")}, runs[-1]["elbo"][-1], flush=True)
            print(f"{runs[-1]['seconds'][-1]:.0f} s", flush=True)
            about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
            RESULTS.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
