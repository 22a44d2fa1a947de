"""Standard streams that are open and take any character."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


@contextmanager
def usable_streams() -> Iterator[None]:
    """Meanwhile what is closed is the null device, and a character that a stream's encoding lacks is escaped.

    A closed stream has to be replaced: the next file that is opened, such as a checkpoint, would take its number, and
    whatever a library prints would go into that file. Names of files are escaped as "\\xe9", also those that are no
    text in the file system's encoding.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    changed = [(stream, stream.errors) for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    for stream, _ in changed:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in changed:
            with suppress(ValueError, OSError):  # closed meanwhile, or its disk is full
                stream.reconfigure(errors=errors)
