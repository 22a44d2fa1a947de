"""The numbers of the README's table: the four examples and their exactly trained variants, seeds 1 to 3.

python reproductions/examples.py            # about 10 minutes on two cores; writes reproductions/examples.json
python reproductions/examples.py --table    # prints the table of the last run again
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_suffix(".json")
RUNS = [
    ("vae", "analytic"),
    ("gaussian_vae", "analytic"),
    ("binconcrete", "surrogate"),
    ("binconcrete", "rloo"),
    ("concrete", "surrogate"),
    ("concrete", "rloo"),
]
SEEDS = (1, 2, 3)


def run(script: str, estimator: str, seed: int) -> dict[str, Any]:
    """One script in a process of its own, as a user starts it."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--estimator", estimator, "--seed", str(seed), "--results", folder]
        command = [sys.executable, f"{script}.py", *options]
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    train, test = (re.findall(rf"{kind} loss: (\S+)", out) for kind in ("Average", "Test set"))
    exact, error = re.findall(r"exact bound: (\S+) \+/- (\S+)", out)[0]
    return {
        "script": script,
        "estimator": estimator,
        "seed": seed,
        "train": [float(x) for x in train],
        "test": [float(x) for x in test],
        "exact": float(exact),
        "exact_error": float(error),
        "seconds": round(time.perf_counter() - started, 1),
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Mean over the seeds, and their lowest and highest, as Markdown."""
    lines = ["| script | estimator | train | test | exact bound | seconds |", "|---|---|---|---|---|---|"]
    for script, estimator in RUNS:
        chosen = [r for r in runs if (r["script"], r["estimator"]) == (script, estimator)]
        cells = []
        for values in ([r["train"][-1] for r in chosen], [r["test"][-1] for r in chosen], [r["exact"] for r in chosen]):
            cells.append(f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        seconds = f"{statistics.median(r['seconds'] for r in chosen):.0f}"
        lines.append(f"| `{script}.py` | {estimator} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines)


def main() -> None:
    if "--table" not in sys.argv:
        runs = []
        for script, estimator in RUNS:
            for seed in SEEDS:
                runs.append(run(script, estimator, seed))
                print({k: v for k, v in runs[-1].items() if k not in ("train", "test")}, flush=True)
        about = {"torch": torch.__version__, "machine": platform.machine(), "cores": os.cpu_count()}
        RESULTS.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text())["runs"]))


if __name__ == "__main__":
    main()
