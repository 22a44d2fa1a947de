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
# script, estimator, what it is, and the figures that the well-known scripts print (train, test)
RUNS = [
    ("vae", "analytic", "by hand", "106.31, 105.59"),
    ("gaussian_vae", "analytic", "20 Gaussian", "106.32, 105.61"),
    ("binconcrete", "surrogate", "20 Bernoulli, the usual surrogate", "126.67, 125.31"),
    ("binconcrete", "rloo", "20 Bernoulli, exact: `--estimator rloo`", ""),
    ("concrete", "surrogate", "20 x 10 Categorical, the usual surrogate", "110.22, 109.19"),
    ("concrete", "rloo", "20 x 10 Categorical, exact: `--estimator rloo`", ""),
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
    """Mean over the seeds, and their lowest and highest, as Markdown: the README's table."""
    lines = [
        "| script | published: train, test | train loss | test loss | exact test bound | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for script, estimator, what, published in RUNS:
        chosen = [r for r in runs if (r["script"], r["estimator"]) == (script, estimator)]
        columns = ([r["train"][-1] for r in chosen], [r["test"][-1] for r in chosen], [r["exact"] for r in chosen])
        cells = [f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})" for values in columns]
        if estimator == "surrogate":
            cells[:2] = [f"*surrogate* {cell}" for cell in cells[:2]]
        seconds = f"{statistics.median(r['seconds'] for r in chosen):.0f}"
        lines.append(f"| `{script}.py`: {what} | {published} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines)


def main() -> None:
    if "--table" not in sys.argv:
        runs = []
        for script, estimator, *_ in RUNS:
            for seed in SEEDS:
                runs.append(run(script, estimator, seed))
                print({k: v for k, v in runs[-1].items() if k not in ("train", "test")}, flush=True)
        about = {"torch": torch.__version__, "machine": platform.machine(), "cores": os.cpu_count()}
        RESULTS.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text())["runs"]))


if __name__ == "__main__":
    main()
