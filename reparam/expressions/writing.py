"""Object to text."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from itertools import chain, zip_longest
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from reparam._calls import Initial, call_of
from reparam.expressions.names import CALLED, DISTRIBUTIONS, GIVEN
from reparam.expressions.reading import parse
from reparam.hierarchy import Hierarchy, Ladder
from reparam.model import VAE, LatentVariableModel

# Arguments that do not stand in an attribute of the same name.
_ELSEWHERE: dict[tuple[type, str], Callable[[Any], Any]] = {
    (nn.Sequential, "args"): list,
    (VAE, "prior"): lambda model: model.prior_module,
    **{(layers, "prior"): lambda model: model.top for layers in (Hierarchy, Ladder)},
    **{(layers, "latents"): lambda model: list(model.latents.values()) for layers in (Hierarchy, Ladder)},
}
# by identity, as what is looked up may have no hash, or equal something else
_CALLED = {id(thing): name for name, thing in CALLED.items()}
_GIVEN = {id(thing): name for name, thing in {**GIVEN, **DISTRIBUTIONS}.items()}
_MOST_NUMBERS = 1000  # of a tensor that is written out


def describe(thing: object) -> str:
    """The text from which `parse` builds the like of `thing`: a model, family, network, estimator, bound or schedule.

    Of what learns, the text says the kind and the sizes; weights and buffers belong to a checkpoint, and a tensor that
    an argument gave for their beginning is written as `zeros(...)` of its shape. A module in two places, such as the
    encoder in a `VampPrior`, is named at the first (`name := ...`). Default arguments are left out.

    The text is then built, and the result compared with `thing`: how it prints, the names and shapes of all weights,
    and which of them are one. (What none of these shows, such as a method replaced in one object, is not seen.)

    Raises:
        ValueError: a part that no text stands for; the message names it.

    Example:
        >>> from reparam import Bernoulli, Gaussian, VAE, mlp
        >>> describe(VAE(Gaussian(2), Bernoulli(6), mlp(6, [8], 4), mlp(2, [8], 6)))
        'VAE(Gaussian(2), Bernoulli(6), mlp(6, [8], 4), mlp(2, [8], 6))'
    """
    is_model = isinstance(thing, nn.Module) and isinstance(thing, LatentVariableModel)
    remedy = "; rp.load(run, model=your_model) loads the weights into a model that you built" if is_model else ""
    what = "the model" if is_model else "it"
    try:
        text = _written(thing, what, by_calls=True)
        different = _difference(thing, text)
        if different:  # a network that was changed after the call that made it is written layer by layer
            text = _written(thing, what, by_calls=False)
            different = different if _difference(thing, text) else ""
    except ValueError as error:
        raise ValueError(f"{error}{remedy}.") from None
    if different:
        raise ValueError(f"{what} is not what its text builds: {different}{remedy}.")
    return text


def _written(thing: object, what: str, by_calls: bool) -> str:
    once = _Writer(by_calls, frozenset())
    text = once.text(thing, what, "it")
    return _Writer(by_calls, frozenset(once.again)).text(thing, what, "it") if once.again else text


@dataclass
class _Writer:
    """Writes one text.

    Attributes:
        by_calls: whether networks are written as the calls that made them.
        shared: the modules, by id, that need a name.
        again: those that were met a second time.
        names: what was written already, and its name if it has one.
    """

    by_calls: bool
    shared: frozenset[int]
    again: set[int] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)

    def text(self, value: object, where: str, name: str) -> str:
        """The text of one value; `where` and `name` say which one it is."""
        if not (isinstance(value, nn.Module) and any(True for _ in chain(value.parameters(), value.buffers()))):
            return self.anew(value, where, name)
        if id(value) in self.names:
            self.again.add(id(value))
            return self.names[id(value)]
        if id(value) not in self.shared:
            self.names[id(value)] = ""
            return self.anew(value, where, name)
        while name in {*self.names.values(), *CALLED, *GIVEN}:
            name += "_"
        text = self.anew(value, where, name)
        self.names[id(value)] = name
        return f"({name} := {text})"

    def anew(self, value: object, where: str, name: str) -> str:
        if isinstance(value, list | tuple | nn.ModuleList):
            return self.several(value, where, name)
        if isinstance(value, Tensor):
            return self.tensor(value, where)
        call = call_of(value) if self.by_calls and isinstance(value, nn.Module) else None
        if call is not None:
            return self.call(call.make, CALLED[call.make], call.arguments)
        if id(type(value)) in _CALLED:
            return self.call(type(value).__name__, type(value), _arguments(value))
        text = _simple(value)
        if text is None:
            raise ValueError(f"{where} is {_shown(value)}, which reparam cannot build from text")
        return text

    def several(self, values: Iterable[object], where: str, name: str) -> str:
        texts = [self.text(value, f"number {number} of {where}", name) for number, value in enumerate(values, 1)]
        if not isinstance(values, tuple):
            return f"[{', '.join(texts)}]"
        return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"

    def tensor(self, value: Tensor, where: str) -> str:
        if isinstance(value, nn.Parameter):
            return f"zeros({', '.join(map(str, value.shape))})"
        if value.numel() > _MOST_NUMBERS:
            raise ValueError(f"{where} is a tensor of {value.numel()} numbers, which reparam does not write as text")
        return f"tensor({value.tolist()})"

    def call(self, make: str, function: Callable[..., Any], values: Mapping[str, Any]) -> str:
        texts: list[str] = []
        for name, parameter in inspect.signature(function).parameters.items():
            if name not in values or _is_default(values[name], parameter.default):
                continue
            value, where = values[name], f"the {make}'s {name}"
            if parameter.kind is Parameter.VAR_POSITIONAL:
                texts += [self.text(each, f"number {number} of {where}", name) for number, each in enumerate(value, 1)]
            elif parameter.kind is Parameter.VAR_KEYWORD:
                texts += [f"{key}={self.text(each, f'{where}, {key},', key)}" for key, each in value.items()]
            elif parameter.default is Parameter.empty:
                texts.append(self.text(value, where, name))
            else:
                texts.append(f"{name}={self.text(value, where, name)}")
        return f"{make}({', '.join(texts)})"


def _simple(value: object) -> str | None:
    """What a name, a number or a string is written as."""
    text = _GIVEN.get(id(value))
    if value is None or isinstance(value, bool | str):
        text = repr(value)
    elif isinstance(value, Integral):
        text = repr(int(value))
    elif isinstance(value, Real) and math.isfinite(value):
        text = repr(float(value))
    elif isinstance(value, Initial):
        text = f"zeros({', '.join(map(str, value.shape))})"
    return text


def _arguments(thing: object) -> dict[str, object]:
    """The arguments of a constructor, from the attributes of what it made."""
    found: dict[str, object] = {}
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        elsewhere = _ELSEWHERE.get((type(thing), name))
        value = elsewhere(thing) if elsewhere else getattr(thing, name, Parameter.empty)
        if isinstance(parameter.default, bool) and not isinstance(value, bool):
            value = value is not None  # torch keeps the bias where it was asked for as `bias=True`
        if value is not Parameter.empty:
            found[name] = value
    return found


def _is_default(value: object, default: object) -> bool:
    if default is Parameter.empty:
        return False
    if isinstance(value, nn.Parameter):  # the argument was where it begins
        return True
    if isinstance(default, int) and isinstance(value, tuple):  # torch keeps a stride of 1 as (1, 1)
        return value == (default,) * len(value)
    return type(value) is type(default) and bool(value == default)


def _shown(value: object) -> str:
    """A module by its name, as its layers would fill the line."""
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    return f"{value!r}" if len(repr(value)) <= 80 else f"a {type(value).__name__}"


def _difference(thing: object, text: str) -> str:
    """What is different if one builds the text; empty if nothing is."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        try:
            built = parse(text)
        except ValueError as error:
            return str(error).rstrip(".")
    if isinstance(thing, nn.Module) and isinstance(built, nn.Module):
        for (name, here), (other, there) in zip_longest(
            thing.named_modules(), built.named_modules(), fillvalue=("", None)
        ):
            lines = [f"{part._get_name()}({part.extra_repr()})" if part else "nothing" for part in (here, there)]
            if name != other or _plain(lines[0]) != _plain(lines[1]):
                return f"{name or other} is {lines[0]}, and {lines[1]} when it is built"
        if _layout(thing) != _layout(built):
            return "it has other weights, or weights in several places that are not whole modules"
    if _plain(repr(thing)) != _plain(repr(built)):
        return f"{_shown(thing)} becomes {_shown(built)}"
    return ""


def _layout(module: nn.Module) -> list[tuple[str, torch.Size, str]]:
    """Name and shape of each weight and buffer, and the first name that it has."""
    tensors = {name: each for name, each in module.state_dict(keep_vars=True).items() if isinstance(each, Tensor)}
    first: dict[int, str] = {}
    return [(name, each.shape, first.setdefault(id(each), name)) for name, each in tensors.items()]


def _plain(printed: str) -> str:
    """With shapes and numbers of torch and numpy printed as those of Python."""
    printed = re.sub(r"torch\.Size\(\[([^\]]*)\]\)", r"(\1)", printed)
    return re.sub(r"np\.\w+\(([^()]*)\)", r"\1", printed).replace(",)", ")")
