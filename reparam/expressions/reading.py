"""Text to object."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from reparam._nearest import nearest
from reparam.expressions.calling import call
from reparam.expressions.names import CALLED, DISTRIBUTIONS, GIVEN
from reparam.families import TorchFamily

MAX_LENGTH = 20_000
MAX_DEPTH = 40
MAX_NAMES = 8
MAX_PARTS = 20_000  # of a text in which each name is replaced by what it stands for: a module of a module multiplies
MAX_WHOLE = 10**15
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_LINE_ENDS = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")  # those of Python; str.splitlines knows more
# what the constructors raise on arguments of every kind, torch's own among them
_REFUSALS = (
    *(TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError, AssertionError),
    *(ImportError, MemoryError),
)
Make = Callable[[Callable[..., Any], list[Any], dict[str, Any]], Any]


class Unreadable(ValueError):
    """A text that stands for nothing.

    Attributes:
        why: the reason, and the place if it is not the whole text.
        unknown: the name that is not known, if that is the reason.
        whole: whether the reason is about the whole text.
    """

    def __init__(self, text: str, why: str, *, part: str | None = None, place: int | None = None) -> None:
        at = "" if place is None else f" at character {place}"
        whole = "" if part is None or part == text else f" in {_short(text)!r}"
        super().__init__(f"cannot read {_short(text if part is None else part)!r}{whole}{at}: {why}.")
        self.why = f"{_short(part or '')!r}{at}: {why}." if whole else f"{why}."
        self.unknown: str | None = None
        self.whole = not whole


def parse(text: str, **numbers: float | tuple[int, ...]) -> Any:
    """The object that a text stands for, such as "Gaussian(20)" or "Relaxed(temperature=geometric(1.0, 0.2, steps))".

    A text holds the public names of this library that make models, families, estimators, bounds and schedules, layers
    and activations of torch.nn, and in `TorchFamily` the classes of torch.distributions; arguments in parentheses,
    numbers, strings, tuples and lists, the signs + - * / // between numbers, `min`, `max`, `round`, and `name :=` in
    parentheses before what is used twice. It is read, not run: no other name and no attribute can be reached.

    Args:
        text: at most 20,000 characters, nested at most 40 deep; at most 20,000 parts, where each use of a name counts
            all parts of the module that the name stands for.
        numbers: that the text may name, such as `steps`; also tuples of whole numbers, such as a `shape`.

    Raises:
        TypeError: text that is no str, numbers that are none.
        ValueError: anything else that is wrong with the text; the message has the place and the reason.

    Example:
        >>> parse("Relaxed(temperature=exponential(1.0, 0.1, rate=3e-5))").at(10_000)
        Relaxed(temperature=0.7408182206817179)
        >>> parse("round(0.6 * steps)", steps=1000)
        600
    """
    return _read(text, numbers, None)


def parse_as(make: Make, text: str, **numbers: float | tuple[int, ...]) -> Any:
    """The object that a text stands for, where the outermost call is made by `make`; its parentheses may be missing.

    Args:
        make: takes what is called, the values in their places, and those with names.
        text: as for `parse`.
        numbers: as for `parse`.

    Raises:
        TypeError, ValueError: as for `parse`; errors of `make` are reported as those of the call.
    """
    return _read(text, numbers, make)


def _read(text: str, numbers: Mapping[str, float | tuple[int, ...]], make: Make | None) -> Any:
    if not isinstance(text, str):
        raise TypeError(f"text is {text!r}; it must be a str such as 'Gaussian(20)'.")
    for name, value in numbers.items():
        parts = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(part, int | float) and not isinstance(part, bool) for part in parts):
            raise TypeError(f"{name} is {value!r}; it must be a number.")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the text has {len(text)} characters; it must have at most {MAX_LENGTH}.")
    text = text.strip()
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise Unreadable(text, error.msg, place=error.offset or None) from None
    except ValueError as error:  # characters that no text may hold
        raise Unreadable(text, str(error)) from None
    except (RecursionError, MemoryError):
        raise Unreadable(text, "it is nested too deep") from None
    return _Reader(text, numbers, make).value(tree.body, 0)


@dataclass
class _Reader:
    """Goes over the tree of one text."""

    text: str
    numbers: Mapping[str, float | tuple[int, ...]]
    make: Make | None  # makes the outermost call
    named: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # parts that each name stands for
    parts: int = 0  # so far

    def value(self, node: ast.expr, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.refusal(node, f"it is nested more than {MAX_DEPTH} deep")
        self.count(node, 1)
        made: Any
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as made):
                pass
            case ast.Tuple(elts=parts):
                made = tuple(self.value(part, depth + 1) for part in parts)
            case ast.List(elts=parts):
                made = [self.value(part, depth + 1) for part in parts]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                made = -self.number(operand, depth + 1)
            case ast.BinOp(op=op) if type(op) in _OPERATORS:
                made = self.arithmetic(node, _OPERATORS[type(op)], depth)
            case ast.NamedExpr(target=ast.Name(id=name), value=inner):
                before = self.parts
                made = self.give_name(node, name, self.value(inner, depth + 1))
                self.sizes[name] = self.parts - before
            case ast.Name(id=name) if depth == 0 and self.make and name in CALLED and name not in GIVEN:
                made = self.made(node, name, [], {}, depth)
            case ast.Name(id=name):
                made = self.name(node, name)
            case ast.Call(func=ast.Name(id=name)):
                made = self.call(node, name, depth)
            case ast.Attribute(attr=name) | ast.Call(func=ast.Attribute(attr=name)):
                raise self.refusal(node, f"attributes are not read; write {name} without what stands before it")
            case _:
                raise self.refusal(node, "this is no number, string, list, name or name(arguments)")
        return made

    def count(self, node: ast.expr, parts: int) -> None:
        self.parts += parts
        if self.parts > MAX_PARTS:
            raise self.refusal(node, f"with its names written out, the text has more than {MAX_PARTS} parts")

    def give_name(self, node: ast.expr, name: str, made: Any) -> Any:
        if name in self.numbers or name in CALLED or name in GIVEN:
            raise self.refusal(node, f"{name} is a name already; choose another")
        if not isinstance(made, nn.Module) or len(self.named) >= MAX_NAMES:
            raise self.refusal(node, f"names are for modules in two places, at most {MAX_NAMES} of them")
        self.named[name] = made
        return made

    def number(self, node: ast.expr, depth: int) -> int | float:
        value = self.value(node, depth)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refusal(node, "arithmetic is of numbers")
        return value

    def arithmetic(self, node: ast.BinOp, operation: Callable[[Any, Any], Any], depth: int) -> Any:
        left, right = self.number(node.left, depth + 1), self.number(node.right, depth + 1)
        try:
            made = operation(left, right)
        except ArithmeticError as error:
            raise self.refusal(node, str(error)) from None
        if isinstance(made, int) and abs(made) > MAX_WHOLE:
            raise self.refusal(node, f"whole numbers go up to {MAX_WHOLE:.0e}")
        return made

    def name(self, node: ast.expr, name: str) -> Any:
        self.count(node, self.sizes.get(name, 0))
        for table in (self.named, self.numbers, GIVEN):
            if name in table:
                return table[name]
        if name in CALLED:
            raise self.refusal(node, f"{name} takes arguments; write {name}(...)")
        raise self.unknown(node, name)

    def unknown(self, node: ast.expr, name: str) -> Unreadable:
        if name in GIVEN:
            return self.refusal(node, f"{name} takes no arguments; write {name}")
        known = {*self.named, *self.numbers, *GIVEN, *CALLED}
        refused = self.refusal(node, f"there is no {name}. {nearest(name, known)}")
        refused.unknown = name
        return refused

    def call(self, node: ast.Call, name: str, depth: int) -> Any:
        if name not in CALLED:
            raise self.unknown(node, name)
        positional: list[Any] = []
        for index, argument in enumerate(node.args):
            of_torch = CALLED[name] is TorchFamily and index == 0
            positional.append(self.distribution(argument) if of_torch else self.value(argument, depth + 1))
        by_name: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.refusal(keyword.value, "** is not read")
            of_torch = CALLED[name] is TorchFamily and keyword.arg == "distribution"
            value = self.distribution(keyword.value) if of_torch else self.value(keyword.value, depth + 1)
            by_name[keyword.arg] = value
        return self.made(node, name, positional, by_name, depth)

    def made(self, node: ast.expr, name: str, positional: list[Any], by_name: dict[str, Any], depth: int) -> Any:
        try:
            if depth == 0 and self.make:
                return self.make(CALLED[name], positional, by_name)
            return call(CALLED[name], positional, by_name)
        except _REFUSALS as error:
            raise self.refusal(node, _one_line(error)) from error

    def distribution(self, node: ast.expr) -> Any:
        if not isinstance(node, ast.Name):
            why = "the distribution of a TorchFamily is the name of a class of torch.distributions"
            raise self.refusal(node, f"{why}: TorchFamily(Weibull, 20)")
        if node.id not in DISTRIBUTIONS:
            raise self.refusal(node, f"torch.distributions has no {node.id}. {nearest(node.id, DISTRIBUTIONS)}")
        return DISTRIBUTIONS[node.id]

    def refusal(self, node: ast.expr, why: str) -> Unreadable:
        lines = _LINE_ENDS.split(self.text)
        line = lines[node.lineno - 1].encode()[: node.col_offset].decode()
        place = len("".join(lines[: node.lineno - 1]) + line) + 1
        part = ast.get_source_segment(self.text, node) or ""
        return Unreadable(self.text, why.strip().removesuffix("."), part=part, place=place)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"\brp\.(?=\w)", "", text)  # messages are written for Python; a text has no prefix
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"
