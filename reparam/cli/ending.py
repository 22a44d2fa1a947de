"""How a command ends when it is asked to, or when nobody reads what it prints."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGTERM and a closed terminal raise `KeyboardInterrupt`, as Ctrl-C does.

    So files and locks are released. While a run is trained, `fit` notes signals itself and saves. A signal that is
    ignored stays ignored, such as SIGHUP under nohup.
    """
    before: dict[signal.Signals, Any] = {}

    def end(number: int, _: FrameType | None) -> None:
        for each in before:  # a second one is not to break off the cleaning up after the first
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}.")

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def drop_unread() -> None:
    """Redirects standard streams that nobody reads any more to nowhere; Python would fail on them when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
