"""Processes of the sides: several that take turns, or a fresh one for a whole training."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reparam import progress
from sides import OURS, Case, Side

Answer = dict[str, Any]
T = TypeVar("T")


@dataclass
class Measured:
    """What is known of one side on one case.

    Attributes:
        about: versions and threads.
        seconds: an epoch, or a whole process, in each round.
        processor: seconds of all its threads, meanwhile.
        loss: mean loss of the second epoch, or of the last one of a whole process; nats an image, if it has one.
        idle: the largest share of a core that it used while others had their turn.
        missing: why it has no numbers, if it has none.
    """

    about: Answer = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    loss: float | None = None
    idle: float = 0.0
    missing: str = ""


class Stopped(Exception):
    """A process that ended before its time, or that lacks something."""


class Worker:
    """The process of one side; it runs only between a call of `epoch` and its return."""

    def __init__(self, side: Side, case: Case, images: Path, epochs: int = 0) -> None:
        self.side = side
        self.log = images.with_name(f"{side.name}.log")
        script = Path(__file__).with_name("worker.py")
        command = [sys.executable, str(script), side.name, case.name, str(images), str(epochs)]
        pipe = subprocess.PIPE
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)

    def answer(self) -> Answer:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            last = [text for text in self.log.read_text(errors="replace").splitlines() if text.strip()][-1:]
            raise Stopped(f"stopped with exit status {self.process.wait()}; its last line: {' '.join(last)[:300]}")
        answer: Answer = json.loads(line)
        if "absent" in answer:
            raise Stopped(answer["absent"])
        return answer

    def epoch(self) -> Answer:
        """One more."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self.process.communicate()  # the end of its input ends it


def take_turns(sides: list[Side], case: Case, images: Path, rounds: int) -> dict[str, Measured]:
    """An epoch of each side to warm up, then one of each in turn; a round begins with the next side."""
    results = {side.name: Measured() for side in sides}
    workers: list[Worker] = []
    try:
        for side in progress(sides, f"{case.name}: to warm up"):
            workers.append(Worker(side, case, images))
            _try(workers, workers[-1], results, _warm_up)
        for number in progress(range(rounds), f"{case.name}: rounds"):
            for worker in rotated(workers, number):
                _try(workers, worker, results, _measure)
    finally:
        for worker in workers:
            worker.close()
    return results


Turn = Callable[[Worker, Measured], None]


def _try(workers: list[Worker], worker: Worker, results: dict[str, Measured], turn: Turn) -> None:
    result = results[worker.side.name]
    try:
        turn(worker, result)
    except Stopped as error:
        result.missing = str(error)
        workers.remove(worker)
        worker.close()


def _warm_up(worker: Worker, result: Measured) -> None:
    result.about = worker.answer()
    worker.answer()


def _measure(worker: Worker, result: Measured) -> None:
    answer = worker.epoch()
    result.seconds.append(answer["seconds"])
    result.processor.append(answer["processor"])
    if result.loss is None and math.isfinite(answer["loss"]):
        result.loss = answer["loss"]
    if answer["idle"] > 1:  # threads may spin for some milliseconds before they sleep
        result.idle = max(result.idle, answer["idle_processor"] / answer["idle"])


def whole_processes(sides: list[Side], case: Case, images: Path, rounds: int, epochs: int) -> dict[str, Measured]:
    """From the start of a fresh process to its end, imports and compilation included, in turn."""
    results = {side.name: Measured() for side in sides}
    for number in progress(range(rounds), "whole processes: rounds"):
        for side in rotated(sides, number):
            result = results[side.name]
            if result.missing:
                continue
            started = time.perf_counter()
            worker = Worker(side, case, images, epochs)
            try:
                result.about = worker.answer()
                answers = [worker.answer() for _ in range(epochs)]
            except Stopped as error:
                result.missing = str(error)
            worker.close()
            if not result.missing:
                result.seconds.append(time.perf_counter() - started)
                result.processor.append(sum(answer["processor"] for answer in answers))
                result.loss = answers[-1]["loss"]
    return results


def rotated(items: list[T], number: int) -> list[T]:
    """The same items, begun `number` later."""
    first = number % max(1, len(items))
    return items[first:] + items[:first]


def ratios(results: dict[str, Measured], name: str) -> list[float]:
    """A side's seconds over ours, round by round."""
    return [theirs / ours for theirs, ours in zip(results[name].seconds, results[OURS].seconds, strict=False)]
