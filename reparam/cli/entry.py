"""main: a command is parsed, then called; whatever goes wrong is one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import tyro

from reparam._nearest import nearest
from reparam.cli.app import app, groups
from reparam.cli.ending import drop_unread, ended_by_signals
from reparam.experiment.presets import presets

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_DESCRIPTION = (
    "Deep latent-variable models on torch.distributions. Exit codes: 0 done, 2 bad input, 1 failure, 130 interrupted, "
    "a training after saving. --debug with any command shows where an error came from; --version prints the version."
)
_CAUGHT = (
    *(KeyboardInterrupt, ValueError, TypeError, ImportError, OSError, ArithmeticError, RuntimeError),
    *(LookupError, AttributeError),  # files of a run that somebody changed into something else
)
# what is wrong with a name or a place that was given; any other OSError is a failure
_MISPLACED = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)


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
            call = parsed(["version"] if given == ["--version"] else given)
            call()
            sys.stdout.flush()
    except BrokenPipeError as error:  # nobody reads the output any more
        raise SystemExit(FAILED) from error
    except _CAUGHT as error:
        if debug:
            traceback.print_exc()
        shared = isinstance(
            error, KeyboardInterrupt | ValueError | TypeError | OSError
        )  # what all ranks raise together
        if not (shared and _is_another_rank()):
            _say(_told(error))
        elif isinstance(error, KeyboardInterrupt):  # else the launcher takes it for a crash, and kills the first rank
            raise SystemExit(DONE) from None
        raise SystemExit(_code(error)) from (None if isinstance(error, KeyboardInterrupt) else error)
    finally:
        drop_unread()


def parsed(given: Sequence[str]) -> Callable[[], None]:
    """What was typed, as a call.

    Raises:
        SystemExit: help was asked for and shown, or an option is wrong, which is said.
    """
    call: Callable[[], None] = app(brief=not given or given[0].startswith("-")).cli(
        prog="reparam",
        description=_DESCRIPTION,
        args=given,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    return call


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
    if isinstance(error, LookupError | AttributeError):
        text = f"unexpected {type(error).__name__}: {text}. --debug shows where"
    if isinstance(error, OSError) and error.strerror:  # without the number that Python puts in front
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    notes = getattr(error, "__notes__", [])
    if notes and text and not text.endswith("."):
        text += "."
    text = " ".join(" ".join([text, *notes]).split())
    return text or ("interrupted." if isinstance(error, KeyboardInterrupt) else type(error).__name__)


def _say(text: str) -> None:
    """Prints a line on standard error, if anybody still reads that."""
    with suppress(OSError):
        print(f"reparam: {text}", file=sys.stderr)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Without the file and the line of code, which say nothing to whoever typed the command."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _say(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def check_names(given: Sequence[str]) -> None:
    """Refuses a command or a preset that there is not, with the one that was meant."""
    known = groups()
    words = [word for word in given[:2] if not word.startswith("-")]
    if not words or given[0] != words[0]:
        return
    if words[0] not in known:
        raise ValueError(f"there is no command {words[0]!r}. {nearest(words[0], known)}")
    inner = known[words[0]]
    if inner and len(words) > 1 and words[1] not in inner:
        if words[0] == "train":
            presets[words[1]]  # says which is the nearest
        raise ValueError(f"there is no command {' '.join(words)!r}. {nearest(words[1], inner)}")
