"""Being asked to stop: a signal is noted, and the training ends after the step it is in."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A training was asked to stop, by Ctrl-C or SIGTERM, and has saved its state.

    Attributes:
        run: the folder it can be resumed from.
        step: optimiser steps done.
        typed: whether the run was begun by the command line, which can then go on with it.
    """

    def __init__(self, run: Path, step: int, typed: bool = True) -> None:
        self.run = run
        self.step = step
        self.typed = typed
        super().__init__(run, step, typed)

    def __str__(self) -> str:
        typed = f"reparam resume {shlex.quote(str(self.run))}"
        told = typed if self.typed else f"rp.fit(..., run=rp.Run({str(self.run)!r}, resume=True))"
        return f"stopped after step {self.step}, nothing is lost. Go on with: {told}"


class Stop:
    """Whether the training was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal; a second Ctrl-C does not wait for the step to end."""
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stoppable() -> Iterator[Stop]:
    """SIGINT and SIGTERM are noted meanwhile, unless they are ignored, as under nohup.

    In the main thread, that is; elsewhere Python delivers no signals.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    asked = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop.ask) for number in asked}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
