"""The words of a command line as values of a command's options; what is wrong with them is told in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from reparam._nearest import nearest
from reparam._shown import shown
from reparam.cli.options import Option
from reparam.experiment.rules import fits, rule_of


@dataclass(frozen=True)
class Typed:
    """What was typed after a command.

    Attributes:
        values: of the options that were given, by their names in Python.
        spelling: each option as it was typed, or as it would be.
    """

    values: Mapping[str, Any]
    spelling: Mapping[str, str]


def read(words: Sequence[str], options: Sequence[Option], command: str) -> Typed:
    """Reads words such as `runs/a --epochs 20 --json`; an option that is given twice has its last value.

    Args:
        words: what follows the name of the command.
        options: those of the command.
        command: its name, such as "train gaussian".

    Raises:
        ValueError: an unknown option, a missing or wrong value, or a word too many.
    """
    by_word = {option.word: option for option in options if not option.positional}
    values: dict[str, Any] = {}
    spelling = {option.name: option.word for option in by_word.values()}
    queue, free = list(words), []
    while queue:
        word = queue.pop(0)
        if word == "--":  # what follows is no option
            free += queue
            break
        if not _is_option(word):
            free.append(word)
            continue
        typed, attached, first = word.partition("=")
        option = by_word.get(typed.replace("_", "-"))
        if option is None:
            near = nearest(f"--{typed.lstrip('-').replace('_', '-')}", by_word)
            near = near if near.startswith("The nearest") else f"reparam {command} --help lists the options."
            raise ValueError(f"{typed} is no option of reparam {command}. {near}")
        taken = [first] if attached else []
        while queue and len(taken) < option.most_words(taken) and not _is_option(queue[0]):
            taken.append(queue.pop(0))
        spelling[option.name] = typed
        values[option.name] = _flag(option, typed, taken) if option.kind is bool else _value(option, typed, taken)
    return Typed(values | _placed(free, [option for option in options if option.positional], command), spelling)


def _is_option(word: str) -> bool:
    """Whether a word is an option, and not a value such as -1 or -inf."""
    number = word.lower() in ("-inf", "-nan", "-infinity")
    return word == "--" or (word[:1] == "-" and word.lstrip("-")[:1].isalpha() and not number)


def _flag(option: Option, typed: str, taken: Sequence[str]) -> bool:
    if taken:
        raise ValueError(f"{typed} is {shown(taken[0])}; it takes no value. Leave the value out.")
    return not option.default


def _value(option: Option, typed: str, taken: Sequence[str]) -> Any:
    if option.optional and list(taken) == ["None"]:
        return None
    value = None
    if taken or not option.least_words:
        with suppress(ValueError):
            value = _converted(taken, option.inner)
    if fits(value, option.inner, option.limits, empty=option.default == ""):
        return value
    given = f"is {' '.join(map(_given, taken))}" if taken else "has no value"
    rule = rule_of(option.inner, option.limits, value).removeprefix("a tuple of ")
    raise ValueError(f"{typed} {given}; it must be {rule} {option.remedy}".rstrip())


def _given(word: str) -> str:
    return word if word.lstrip("-").replace(".", "").isdecimal() else shown(word)


def _converted(words: Sequence[str], kind: Any) -> Any:
    """Words as a value of a type.

    Raises:
        ValueError: words that stand for no value of this type.
    """
    if get_origin(kind) is tuple:
        return tuple(_converted([word], get_args(kind)[0]) for word in words)
    if get_origin(kind) is Literal or kind is str:
        return words[0]
    if kind is Path:
        return Path(words[0]) if words[0] else None
    return kind(words[0])


def _placed(free: Sequence[str], places: Sequence[Option], command: str) -> dict[str, Any]:
    """The values without an option, in their order."""
    values: dict[str, Any] = {}
    rest = list(free)
    for option in places:
        most = option.most_words()
        taken, rest = (rest, []) if most == inf else (rest[: int(most)], rest[int(most) :])
        if not taken:
            raise ValueError(f"{option.word} is missing. Give it: {usage(command, places)}.")
        values[option.name] = _value(option, option.word, taken)
    if rest:
        raise ValueError(
            f"{shown(rest[0])} is one word too many for {usage(command, places)}. Options begin with --; a value with "
            "spaces stands in quotes."
        )
    return values


def usage(command: str, places: Sequence[Option]) -> str:
    """Such as `reparam evaluate RUN`."""
    words = (f"{option.word} [...]" if option.most_words() == inf else option.word for option in places)
    return " ".join(["reparam", command, *words])
