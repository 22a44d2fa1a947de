"""main: a command is parsed, then called; whatever goes wrong is one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from reparam.cli.parsing import check_names as check_names
from reparam.cli.parsing import parsed as parsed
from reparam.cli.show import print_json
from reparam.cli.streams import usable_streams

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_EXPECTED = (KeyboardInterrupt, ValueError, TypeError, ImportError, OSError, ArithmeticError, RuntimeError)
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
        with _one_line_warnings():
            check_names(given)
            call = parsed(["version"] if given == ["--version"] else given)
            call()
    except BrokenPipeError as error:  # who read our output has gone: there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from error
    except (KeyboardInterrupt, Exception) as error:
        if debug:
            traceback.print_exc()
        shared = isinstance(
            error, KeyboardInterrupt | ValueError | TypeError | OSError
        )  # what all ranks raise together
        if not (shared and _is_another_rank()):
            print(f"reparam: {_told(error)}", file=sys.stderr)
            if "--json" in given:
                print_json({"error": _told(error), "exit_code": _code(error)})
        elif isinstance(error, KeyboardInterrupt):  # else the launcher takes it for a crash, and kills the first rank
            raise SystemExit(DONE) from None
        raise SystemExit(_code(error)) from (None if isinstance(error, KeyboardInterrupt) else error)


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
    text = str(error)
    if not isinstance(error, _EXPECTED):  # files of a run that somebody changed into something else
        text = f"unexpected {type(error).__name__}: {text}. --debug shows where"
    if isinstance(error, OSError) and error.strerror:  # without the number that Python puts in front
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        text = f"there is not enough memory for this. Take smaller sizes, or a smaller batch ({text})"
    notes = getattr(error, "__notes__", [])
    if notes and text and not text.endswith("."):
        text += "."
    text = " ".join(" ".join([text, *notes]).split())
    return text or ("interrupted." if isinstance(error, KeyboardInterrupt) else type(error).__name__)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Without the file and the line of code, which say nothing to whoever typed the command."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"reparam: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
