"""The same training by this library and by others, in one run: seconds an epoch, and for a whole process.

    pip install -r requirements-bench.txt
    python benchmarks/peers.py                          # all cases: about twenty minutes on two cores
    python benchmarks/peers.py --cases gaussian --only pytorch numpyro --process-rounds 0
    python benchmarks/peers.py --cases binconcrete concrete --json results/peers.json

Each side has a process of its own, with all cores; one of them runs at a time, the others sleep. After an epoch to warm
up, in which others compile, they train one epoch in turn, and each round begins with the next side. A ratio is that of
two epochs of one round: above 1 the side is slower than `fit`. The losses show that all do the same work.
"""

import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import reparam as rp
from findings import epochs_table, limit, processes_table, remarks
from race import take_turns, whole_processes
from sides import CASES, OURS, PRODUCTS, SIDES, Case, Side


def main(
    cases: tuple[str, ...] = ("gaussian", "iwae-20", "iwae-128", "rloo"),
    only: tuple[str, ...] = (),
    rounds: int = 7,
    process_rounds: int = 3,
    process_epochs: int = 10,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Prints Markdown tables.

    Args:
        cases: What is trained: gaussian, iwae-20, iwae-128, rloo, binconcrete, concrete.
        only: Names of the sides to compare with this library; all if none is given.
        rounds: Epochs of each side that count, after one to warm up.
        process_rounds: Fresh processes of each side on the Gaussian case.
        process_epochs: Epochs that such a process trains.
        json_file: Where all numbers go.
    """
    refuse_unknown("case", cases, list(CASES))
    refuse_unknown("side", only, [side.name for side in SIDES])
    found: dict[str, Any] = {"machine": machine()}
    print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, rp.mnist("grey").train.values.flatten(1).numpy())
        for case in (CASES[name] for name in cases):
            sides = chosen(case, only)
            results = take_turns(sides, case, images, rounds)
            found[case.name] = {name: asdict(result) for name, result in results.items()}
            print(f"\n{case.title}: {rounds} rounds\n\n{epochs_table(results, case)}")
            print("\n".join(["", *remarks(results, case), *limit(results, case)]), flush=True)
            write(json_file, found)
            if case.name == "gaussian" and process_rounds:
                sides = [side for side in sides if not (side.name.startswith(PRODUCTS) or results[side.name].missing)]
                results = whole_processes(sides, case, images, process_rounds, process_epochs)
                found["process"] = {name: asdict(result) for name, result in results.items()}
                print(
                    f"\nA whole process, {process_epochs} epochs: {process_rounds} rounds\n\n{processes_table(results)}"
                )
                print("\n".join(["", *remarks(results, case)]), flush=True)
                write(json_file, found)


def write(file: Path | None, found: dict[str, Any]) -> None:
    """What is known so far, if a file was asked for."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


def chosen(case: Case, only: tuple[str, ...]) -> list[Side]:
    """The sides that do this case; ours always, for the ratios."""
    sides = [side for side in SIDES if case.name == "gaussian" or not side.only_gaussian]
    return [side for side in sides if not only or side.name in (*only, OURS)]


def refuse_unknown(what: str, names: tuple[str, ...], known: list[str]) -> None:
    for name in names:
        if name not in known:
            sys.exit(f"There is no {what} {name}; there are {', '.join(known)}.")


def machine() -> dict[str, object]:
    """What ran this: processor, where the system tells its name, cores, system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


if __name__ == "__main__":
    tyro.cli(main)
