"""What is waited for besides training: imports, and the share of `reparam train gaussian` that trains.

    python benchmarks/startup.py             # about two minutes on two cores
    python benchmarks/startup.py --runs 9

Every figure is of whole processes, one at a time, after one to warm the disk's cache; printed are median and range.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tyro

COMMANDS = ("train", "train gaussian", "resume", "evaluate", "compare", "data list", "lab")
REPARAM = [sys.executable, "-m", "reparam"]


def seconds(command: list[str]) -> float:
    """Of one process, from its start to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def measured(run: Callable[[], float], runs: int) -> str:
    run()
    found = [run() for _ in range(runs)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def over_torch() -> float:
    """What importing all that a training needs takes beyond importing torch, in one process."""
    names = "reparam.fit, reparam.VAE, reparam.mnist, reparam.Pathwise, reparam.evaluate"
    code = f"import time, torch; t = time.perf_counter(); import reparam; {names}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def share_of_training(epochs: int) -> float:
    """Seconds in the training loop over those of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        whole = seconds([*REPARAM, "train", "gaussian", "--epochs", str(epochs), "--run", str(run)])
        summary = json.loads((run / "summary.json").read_text())
    return float(summary["seconds"]) / whole


def main(runs: int = 5, epochs: int = 10) -> None:
    """Prints a Markdown table.

    Args:
        runs: Processes of each kind, after one.
        epochs: Of the training whose share is measured.
    """
    python = [sys.executable, "-c"]
    print("| | median (range) |\n|---|---|")
    print(f"| import torch, s | {measured(lambda: seconds([*python, 'import torch']), runs)} |")
    print(f"| import reparam and nothing else, s | {measured(lambda: seconds([*python, 'import reparam']), runs)} |")
    print(f"| all names that a training needs, beyond torch, s | {measured(over_torch, runs)} |")
    for command in COMMANDS:
        told = measured(partial(seconds, [*REPARAM, *command.split(), "--help"]), runs)
        print(f"| reparam {command} --help, s | {told} |", flush=True)
    share = measured(lambda: 100 * share_of_training(epochs), max(1, runs // 2))
    print(f"| share of reparam train gaussian --epochs {epochs} in the training loop, % | {share} |")


if __name__ == "__main__":
    tyro.cli(main)
