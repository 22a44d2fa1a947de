"""From what was typed to a call: the command is found, its options are read, and tyro shows the help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import tyro

from reparam._nearest import nearest
from reparam._shown import shown
from reparam._spelling import spelled_as
from reparam.cli.app import Command, app, tree
from reparam.cli.words import read
from reparam.experiment.presets import presets

_DESCRIPTION = (
    "Deep latent-variable models on torch.distributions. Exit codes: 0 done, 2 bad input, 1 failure, 130 interrupted, "
    "a training after saving. --debug with any command shows where an error came from; --version prints the version."
)


def parsed(given: Sequence[str]) -> Callable[[], None]:
    """What was typed, as a call.

    Raises:
        ValueError: an option or a value that the command does not take.
        SystemExit: help or completion was asked for and shown.
    """
    words, command = _command(given)
    before_values = given[: given.index("--")] if "--" in given else given
    completion = given[:1] and given[0].startswith("--tyro-")
    if completion or {"-h", "--help"} & {*before_values}:
        _show_help(given if completion else [*words, "--help"])
    if command is None:
        raise ValueError(_no_command(words, given[len(words) :]))
    typed = read(given[len(words) :], command.options(), " ".join(words))

    def call() -> None:
        with spelled_as(typed.spelling):
            command.run(**typed.values)

    return call


def _command(given: Sequence[str]) -> tuple[list[str], Command | None]:
    """The words that name a command, and the command; None if they name none or a group of commands."""
    words: list[str] = []
    level: Any = tree()
    for word in given:
        if isinstance(level, Command) or word not in level:
            break
        words.append(word)
        level = level[word]
    return words, level if isinstance(level, Command) else None


def _no_command(words: Sequence[str], rest: Sequence[str]) -> str:
    before = " ".join(["reparam", *words])
    kind = "preset" if words == ["train"] else "command"
    what = f"{shown(rest[0])} stands where a {kind} is expected" if rest else f"no {kind} was given"
    return f"{what}. {before} --help lists the {kind}s."


def _show_help(arguments: Sequence[str]) -> NoReturn:
    brief = arguments[0].startswith("-")
    app(brief=brief).cli(
        prog="reparam",
        description=_DESCRIPTION,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    raise AssertionError("tyro shows help and leaves")


def check_names(given: Sequence[str]) -> None:
    """Refuses a command or a preset that there is not, with the one that was meant."""
    known = tree()
    words = [word for word in given[:2] if not word.startswith("-")]
    if not words or given[0] != words[0]:
        return
    if words[0] not in known:
        raise ValueError(f"there is no command {words[0]!r}. {nearest(words[0], known)}")
    inner = known[words[0]]
    if not isinstance(inner, Command) and len(words) > 1 and words[1] not in inner:
        if words[0] == "train":
            presets[words[1]]  # says which is the nearest
        raise ValueError(f"there is no command {' '.join(words)!r}. {nearest(words[1], inner)}")
