"""Whether a checkpoint fits the training that is to go on from it: every name, shape and type, before any is loaded.

A digest shows that a file is the one that was written, and nothing about what was written. A fused kernel goes over an
optimiser's state by address, with the sizes of the weights: state of another size would be read and written beyond its
end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import torch
from torch import Tensor

from reparam.adam import AnyOptimizer, FusedAdam

_ONE_NUMBER = ("step", "mu", "eta", "mu_product")  # in the state of an optimiser of torch; the rest is like the weights
_FACTORED = ("row_var", "col_var")  # Adafactor's; no kernel goes over these by address
_MERSENNE_WORDS = 624


class Mismatch(ValueError):
    """A saved value is not what this training would save; the message begins with the value's name."""


def check_names(name: str, saved: object, names: Iterable[Any], *, more: bool = False) -> Mapping[Any, Any]:
    """Saved values under exactly these names; with `more` there may be others too, which are ignored.

    Raises:
        Mismatch: a name too many or too few, or no named values at all.
    """
    if not isinstance(saved, Mapping):
        raise Mismatch(f"{name} is {_shown(saved)}; it must hold named values")
    wanted = dict.fromkeys(names)
    different = [*(each for each in wanted if each not in saved), *(each for each in saved if each not in wanted)]
    if different and not (more and different[0] not in wanted):
        there = "lacks" if different[0] in wanted else "has an unknown"
        raise Mismatch(f"{name} {there} {_shown(different[0])}")
    return saved


def check_fields(name: str, saved: object, kinds: Mapping[str, Any]) -> Mapping[str, Any]:
    """Saved values of the names and types of `kinds`.

    Raises:
        Mismatch: a name too many or too few, a value of another type, or a whole number below 0.
    """
    values = check_names(name, saved, kinds)
    for field, kind in kinds.items():
        value = values[field]
        if not _is(value, kind):
            raise Mismatch(f"{name}.{field} is {_shown(value)}; it must be {_words(kind)}")
        if isinstance(value, int) and value < 0:
            raise Mismatch(f"{name}.{field} is {value}; it must be at least 0")
    return values


def check_like(name: str, saved: object, own: object, *, more: bool = False) -> None:
    """Refuses a saved tree of other names, types, shapes or dtypes than `own`.

    Args:
        name: of the value, for the message.
        saved: the value of the checkpoint.
        own: what this training would save now.
        more: whether a mapping may have further names, which are ignored.

    Raises:
        Mismatch: a difference; the message has the first one.
    """
    if isinstance(own, Mapping):
        values = check_names(name, saved, own, more=more)
        for key, value in own.items():
            check_like(f"{name}.{key}", values[key], value)
    elif isinstance(own, list | tuple):
        if not isinstance(saved, list | tuple) or len(saved) != len(own):
            raise Mismatch(f"{name} is {_shown(saved)}; it must be a list of {len(own)}")
        for number, (one, other) in enumerate(zip(saved, own, strict=True)):
            check_like(f"{name}[{number}]", one, other)
    elif isinstance(own, Tensor):
        check_tensor(name, saved, own.shape, own.dtype)
    elif not _is(saved, type(own)):
        raise Mismatch(f"{name} is {_shown(saved)}; it must be {_words(type(own))}")


def check_tensor(name: str, saved: object, shape: Sequence[int] | None, dtype: torch.dtype) -> Tensor:
    """A saved tensor of this shape and dtype; without a shape it must have one axis.

    Raises:
        Mismatch: anything else.
    """
    fits = isinstance(saved, Tensor) and saved.dtype == dtype
    if not isinstance(saved, Tensor) or not fits or (saved.dim() != 1 if shape is None else saved.shape != shape):
        wanted = "one axis" if shape is None else f"shape {tuple(shape)}"
        raise Mismatch(f"{name} is {_shown(saved)}; it must be a tensor of {wanted}, {dtype}")
    return saved


def check_random_state(name: str, saved: object, own: Mapping[str, Any]) -> None:
    """Refuses what no `random_state` gave; other devices and other loaders may have had states of their own.

    Raises:
        Mismatch: a state of another size, or a position outside of it.
    """
    values = check_names(name, saved, ("torch", "generators", "numpy", "python"), more=True)
    loose: dict[str, Any] = {"generators": [], "python": []}
    there = {key: value for key, value in own.items() if key in values}
    check_like(name, {**values, **loose}, {**there, **loose}, more=True)
    generators, python = values["generators"], values["python"]
    if not isinstance(generators, list) or not all(isinstance(each, Tensor) for each in generators):
        raise Mismatch(f"{name}.generators is {_shown(generators)}; it must be a list of tensors")
    if not isinstance(python, list) or len(python) != 3:
        raise Mismatch(f"{name}.python is {_shown(python)}; it must be a list of 3")
    check_like(f"{name}.python", python[:2], own["python"][:2])
    words, position = python[1], values["numpy"][2]
    if not _is(python[2], float | None) or words.min() < 0 or words.max() >= 2**32:
        raise Mismatch(f"{name}.python is no state of Python's random numbers")
    if not 0 <= position <= _MERSENNE_WORDS:  # numpy does not look, and would read beyond its state
        raise Mismatch(f"{name}.numpy has the position {position}; it must lie in 0 to {_MERSENNE_WORDS}")


def check_optimizer(name: str, optimizer: AnyOptimizer, saved: object) -> None:
    """Refuses state that is not of this optimiser's parameters.

    Raises:
        Mismatch: other parameters, or state of a size or type that no step of theirs makes.
    """
    values = check_names(name, saved, ("state", "param_groups"))
    groups, states = values["param_groups"], check_names(f"{name}.state", values["state"], (), more=True)
    own = optimizer.param_groups
    if not isinstance(groups, list) or len(groups) != len(own):
        raise Mismatch(f"{name}.param_groups is {_shown(groups)}; it must be a list of {len(own)}")
    start = 0
    for number, (mine, theirs) in enumerate(zip(own, groups, strict=True)):
        options = check_names(f"{name}.param_groups[{number}]", theirs, ("params",), more=True)
        expected = list(range(start, start + len(mine["params"])))
        if options["params"] != expected:
            there = f"the parameters {_shown(options['params'])}; there are {len(expected)}, from {start} on"
            raise Mismatch(f"{name}.param_groups[{number}] has {there}")
        start += len(expected)
        check_like(f"{name}.param_groups[{number}]", options, _needed(mine, options), more=True)
    parameters = [parameter for group in own for parameter in group["params"]]
    for key, state in states.items():
        if not isinstance(key, int) or not 0 <= key < len(parameters):
            raise Mismatch(f"{name}.state has a parameter {key!r}, and there are {len(parameters)}")
        each = check_names(f"{name}.state[{key}]", state, (), more=True)
        _check_state(f"{name}.state[{key}]", optimizer, each, parameters[key])


def _needed(own: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a saved group must have: numbers such as `lr`. A switch may be missing or None."""
    switches = {key for key, value in own.items() if isinstance(value, bool) and saved.get(key) is None}
    needed = {key: value for key, value in own.items() if not (value is None or key == "params" or key in switches)}
    whole = {key: float(value) for key, value in needed.items() if type(value) is int}  # 0 and 0.0 are one weight decay
    return needed | whole


def _check_state(name: str, optimizer: AnyOptimizer, state: Mapping[str, Any], parameter: Tensor) -> None:
    fused = isinstance(optimizer, FusedAdam)
    if fused:
        check_names(name, state, ("step", "exp_avg", "exp_avg_sq"), more=True)
    if not _is_of_torch(optimizer):
        return  # what an optimiser of the user's own keeps, that optimiser knows
    for key, value in state.items():
        if key in _ONE_NUMBER:
            tensor = isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
            if not (tensor or (isinstance(value, int | float) and not fused)):
                raise Mismatch(f"{name}.{key} is {_shown(value)}; it must be a tensor of one number")
        elif key not in _FACTORED and not (value is None and not fused):
            check_tensor(f"{name}.{key}", value, parameter.shape, parameter.dtype)


def _is_of_torch(optimizer: AnyOptimizer) -> bool:
    """Whether the state is of the kinds that torch's optimisers keep for each weight; L-BFGS keeps lists of steps."""
    if isinstance(optimizer, FusedAdam):
        return True
    bases = [base for base in type(optimizer).__mro__ if base is not torch.optim.Optimizer]
    return not isinstance(optimizer, torch.optim.LBFGS) and any(
        base.__module__.startswith("torch.optim.") for base in bases
    )


def _is(value: object, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_is(value, each) for each in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, get_origin(kind) or kind) and (kind is bool or not isinstance(value, bool))


def _words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_words(each) for each in get_args(kind))
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}
    return words.get(kind, "a list" if (get_origin(kind) or kind) in (list, tuple) else str(kind))


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."
