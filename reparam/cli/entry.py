"""main: a command is parsed, then called; whatever goes wrong is one line and an exit code."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from reparam.cli.ending import drop_unread, ended_by_signals
from reparam.cli.parsing import check_names as check_names
from reparam.cli.parsing import parsed as parsed
from reparam.cli.show import print_json, say
from reparam.cli.streams import usable_streams

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_EXPECTED = (
    *(KeyboardInterrupt, ValueError, TypeError, ImportError, OSError, ArithmeticError, RuntimeError),
    MemoryError,
)
# what is wrong with a name or a place that was given; any other OSError is a failure
_MISPLACED = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)


@usable_streams()
def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point.

    Args:
        arguments: those of the process, if not given.

    Raises:
        SystemExit: with the exit code of what went wrong.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [each for each in given if each != "--debug"]
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it says of itself is not ours to say
    try:
        with _one_line_warnings(), ended_by_signals():
            check_names(given)
            call = _parsed_or_shown(["version"] if given == ["--version"] else given)
            call()
            sys.stdout.flush()
    except BrokenPipeError as error:  # nobody reads the output any more
        raise SystemExit(FAILED) from error
    except (KeyboardInterrupt, Exception) as error:
        if debug:
            for line in traceback.format_exc().splitlines():
                say(line, sys.stderr)
        shared = isinstance(
            error, KeyboardInterrupt | ValueError | TypeError | OSError
        )  # what all ranks raise together
        if not (shared and _is_another_rank()):
            _say(_told(error))
            if "--json" in given:
                with suppress(OSError):
                    print_json({"error": _told(error), "exit_code": _code(error)})
        elif isinstance(error, KeyboardInterrupt):  # else the launcher takes it for a crash, and kills the first rank
            raise SystemExit(DONE) from None
        raise SystemExit(_code(error)) from (None if isinstance(error, KeyboardInterrupt) else error)
    finally:
        drop_unread()


def _parsed_or_shown(given: Sequence[str]) -> Callable[[], None]:
    """What was typed, as a call; help that was shown instead has left the buffer when this raises SystemExit."""
    try:
        return parsed(given)
    except SystemExit:
        sys.stdout.flush()
        raise


def _is_another_rank() -> bool:
    """Whether this is one of several processes, and not the first, by what their launchers say of them."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # torchrun's, lightning-fabric's, SLURM's
    return any(os.environ.get(name, "0") not in ("", "0") for name in names)


def _code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return BAD_INPUT if isinstance(error, _MISPLACED) else FAILED
    return BAD_INPUT if isinstance(error, ValueError | TypeError | ImportError) else FAILED


def _told(error: BaseException) -> str:
    """The message and what was noted on the way, in one line."""
    text = _without_memory(error) or str(error)
    if not isinstance(error, _EXPECTED):  # files of a run that somebody changed into something else
        text = f"unexpected {type(error).__name__}: {text}. --debug shows where"
    if isinstance(error, OSError) and error.strerror:  # without the number that Python puts in front
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    notes = getattr(error, "__notes__", [])
    if notes and text and not text.endswith("."):
        text += "."
    text = " ".join(" ".join([text, *notes]).split())
    return text or ("interrupted." if isinstance(error, KeyboardInterrupt) else type(error).__name__)


def _without_memory(error: BaseException) -> str:
    """What to say where memory is full: numpy and Python raise MemoryError, torch a RuntimeError of its own words."""
    asked = re.search(r"ried to allocate ([\d.]+ \w+)", str(error))
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and asked):
        return ""
    what = f"{asked[1]} were asked for at once" if asked else str(error) or "the system gives no more"
    return (
        f"memory is full: {what}. Ask for less: a smaller --batch-size, --num-samples or --hidden, or data in an .npy "
        "file, which can be mapped."
    )


def _say(text: str) -> None:
    """Prints a line on standard error, if anybody still reads that."""
    with suppress(OSError):
        say(f"reparam: {text}", sys.stderr)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Without the file and the line of code, which say nothing to whoever typed the command."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _say(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
