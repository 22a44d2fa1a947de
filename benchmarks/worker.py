"""One side in a process of its own: `python worker.py SIDE CASE IMAGES EPOCHS`; peers.py starts it.

It answers in lines of JSON: what it is, or what it lacks, then one line for each epoch. With EPOCHS 0 it goes on for
ever and waits for a line on standard input after each epoch. Meanwhile it must sleep, so it says what it used.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np

from sides import CASES, SIDES, Absent, Side, Train


class Turns:
    """The clock of one side: an epoch lasts from the end of the one before, or of the wait, to its report."""

    def __init__(self, answers: TextIO, waits: bool) -> None:
        self.answers = answers
        self.waits = waits
        self.idle = (0.0, 0.0)
        self.started = clocks()

    def say(self, **answer: Any) -> None:
        print(json.dumps(answer), file=self.answers, flush=True)

    def report(self, loss: float) -> None:
        seconds, processor = since(self.started)
        idle, idle_processor = self.idle
        self.say(seconds=seconds, processor=processor, loss=loss, idle=idle, idle_processor=idle_processor)
        if self.waits:
            waiting = clocks()
            if not sys.stdin.readline():
                raise SystemExit
            self.idle = since(waiting)
        self.started = clocks()


def clocks() -> tuple[float, float]:
    """Seconds that have passed, and that all threads of this process have used."""
    return time.perf_counter(), time.process_time()


def since(then: tuple[float, float]) -> tuple[float, float]:
    now = clocks()
    return now[0] - then[0], now[1] - then[1]


def about(side: Side) -> dict[str, Any]:
    """What ran: version of the package and of what it computes with, threads."""
    names = {"reparam": ("torch",), "numpyro": ("jax", "jaxlib"), "pyro-ppl": ("torch",), "pythae": ("torch",)}
    packages = (side.package, *names.get(side.package, ()))
    versions = {name: importlib.metadata.version(name) for name in packages}
    torch = sys.modules.get("torch")
    return {"versions": versions, "threads": torch.get_num_threads() if torch else len(os.sched_getaffinity(0))}


def main(name: str, case: str, images: str, epochs: int) -> None:
    side = next(side for side in SIDES if side.name == name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a side prints does not get among the answers
    turns = Turns(answers, waits=epochs == 0)
    try:
        train: Train = importlib.import_module(f"sides.{side.module}").train
        turns.say(**about(side))
        work = CASES[case]
        train(work, side.variant, np.load(images)[: work.num_images], epochs or sys.maxsize, turns.report)
    except ModuleNotFoundError as error:
        turns.say(absent=f"{error.name} is not installed; pip install reparam[bench]")
    except Absent as error:
        turns.say(absent=str(error))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
