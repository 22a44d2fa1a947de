"""Being asked to stop: a signal is noted, and the training ends after the step it is in."""

from __future__ import annotations

import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

# Ctrl-C; what kill, schedulers and shutdowns send; a closed terminal; Ctrl-Break. Not every system has all of them.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
_GRACE = 0.5  # seconds to wait for a signal that has killed a worker of the loader already


class Interrupted(KeyboardInterrupt):
    """A training was asked to stop, by Ctrl-C, SIGTERM or a closed terminal, and has saved its state.

    Attributes:
        run: the folder it can be resumed from.
        step: optimizer steps done.
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
    """Whether the training was asked to stop, and whether it is in a step that must end first.

    Attributes:
        asked: whether a signal came, or nobody reads the output any more.
        in_step: whether a step has begun and its metrics are not written yet. Then the state cannot be saved.
        number: the signal that came first.
    """

    def __init__(self) -> None:
        self.asked = False
        self.in_step = False
        self._ending = False
        self.number: int | None = None
        self._hears_workers = False
        self._child_handler: Callable[..., Any] | None = None
        self._lost_worker: RuntimeError | None = None

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal; a second Ctrl-C does not wait for the step to end."""
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked, self.number = True, number

    def begin_step(self) -> None:
        """Holds back, until the step ends, the error that torch raises when a worker of a loader dies."""
        self.in_step = True

    def end_step(self) -> None:
        """Raises the error that was held back."""
        self.in_step = False
        if self._lost_worker is not None:
            raise self._lost_worker

    def end(self) -> None:
        """Ignores the death of further workers: the training fails or stops already."""
        self._ending = True
        self.watch_workers()

    def soon(self, error: BaseException) -> bool:
        """Whether the training is asked to stop. A signal that has killed a worker may reach this process later."""
        if "DataLoader worker" in str(error):
            end = time.monotonic() + _GRACE
            while not self.asked and time.monotonic() < end:
                time.sleep(0.01)
        return self.asked

    def watch_workers(self) -> None:
        """Wraps torch's handler of SIGCHLD, which raises an error wherever the program is when a worker dies."""
        handler = signal.getsignal(signal.SIGCHLD) if self._hears_workers else None
        if callable(handler) and handler != self._child:
            self._child_handler = handler
            signal.signal(signal.SIGCHLD, self._child)

    def _child(self, number: int, frame: FrameType | None) -> None:
        assert self._child_handler is not None
        try:
            self._child_handler(number, frame)
        except RuntimeError as error:
            if not (self.in_step or self._ending):
                raise
            self._lost_worker = error

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Notes signals in the block. A signal that came too late to end the training is sent again after it."""
        asked = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self.ask) for number in asked}
        self._hears_workers = hasattr(signal, "SIGCHLD")
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._child_handler is not None:
                signal.signal(signal.SIGCHLD, self._child_handler)
            self._hears_workers = False
        if self.number is not None:
            signal.raise_signal(self.number)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """What asks a process to stop is noted meanwhile, unless it is ignored, as SIGHUP under nohup.

    In the main thread, that is; elsewhere Python delivers no signals.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    with stop.listening():
        yield stop
