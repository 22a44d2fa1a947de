"""What in a model or on the way to its bound is NaN or infinite, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch exports it without saying so
from torch.overrides import TorchFunctionMode

from reparam.inspection import modules_of, own_random_numbers
from reparam.model import LatentVariableModel

LARGE = 1e6  # weights and data above this are named where a number overflows

_TERMS = ("q(z|x)", "the draw z ~ q(z|x)", "log q(z|x)", "p(z)", "log p(z)", "p(x|z)", "log p(x|z)")


class NotFinite(ValueError):
    """A parameter, a bound or an image holds NaN or Inf; the message names it."""


def broken_part(model: object) -> str | None:
    """The first parameter that holds NaN or Inf, or buffer that holds NaN, as "parameter encoder.0.weight"."""
    for prefix, module in _parts(model):
        for name, parameter in module.named_parameters():
            if not parameter.isfinite().all():
                return f"parameter {prefix}{name}"
        for name, buffer in module.named_buffers():  # a mask may hold -inf
            if buffer.isnan().any():
                return f"buffer {prefix}{name}"
    return None


def large_part(model: object) -> str | None:
    """The largest parameter, as "parameter encoder.0.weight reaches 1e+30"; None if no weight is above `LARGE`."""
    named = [(prefix + name, p) for prefix, module in _parts(model) for name, p in module.named_parameters()]
    sizes = {name: float(p.detach().abs().max()) for name, p in named if p.numel()}
    name = max(sizes, key=lambda each: sizes[each], default="")
    return f"parameter {name} reaches {sizes[name]:.3g}" if name and sizes[name] > LARGE else None


def not_finite(model: LatentVariableModel, x: Tensor, *, zeros: bool = False) -> str | None:
    """The first thing on the way from the parameters to the exact bound of `x` that is not finite, in words.

    The model is called in the modes that it is in, with random numbers of its own. Buffers that a call updates, such as
    the running averages of batch norm, are put back.

    Args:
        model: any model.
        x: a batch, `[B, *event]`.
        zeros: whether some examples, but not all, may have probability zero, a log of `-inf`.

    Returns:
        Such as "the draw z ~ q(z|x) is not finite"; None if every term is finite.

    Raises:
        Exception: the model's own error, where all numbers up to there are finite and of usual size.
    """
    broken = broken_part(model)
    if broken is not None:
        return f"{broken} is not finite"
    if not x.isfinite().all():
        return "the batch x is not finite"
    large = large_part(model)
    if large is None and x.numel() and float(x.abs().max()) > LARGE:
        large = f"the batch x reaches {float(x.abs().max()):.3g}"
    because = f" ({large})" if large else ""
    terms = iter(_TERMS)
    term = next(terms)
    try:
        with _without_trace(model, x.device):
            for value in _way(model, x):
                if isinstance(value, Tensor) and not _is_finite(value, zeros and term.startswith("log")):
                    return f"{term} is not finite{because}"
                term = next(terms, "")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if not (large or isinstance(error, LinAlgError) or _was_not_finite(model, x)):
            raise
        return f"{term} cannot be computed ({_first_line(error)}){because}"
    return None


def _way(model: LatentVariableModel, x: Tensor) -> Iterator[Any]:
    """From the posterior to the likelihood of `x`, in the order of `_TERMS`."""
    posterior = model.posterior(x)
    yield posterior
    z = posterior.sample((1,))
    yield z
    yield posterior.log_prob(z)
    prior = model.prior()
    yield prior
    yield prior.log_prob(z)
    likelihood = model.likelihood(z)
    yield likelihood
    yield likelihood.log_prob(x)


def _is_finite(value: Tensor, zeros: bool) -> bool:
    impossible = value == -torch.inf
    if zeros and not impossible.all():
        value = value.masked_fill(impossible, 0.0)
    return bool(value.isfinite().all())


class _Seen(TorchFunctionMode):
    """Notes whether anything that torch computes meanwhile is NaN or infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.any = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if not self.any and isinstance(made, Tensor) and made.is_floating_point():
            self.any = not bool(made.isfinite().all())
        return made


def _was_not_finite(model: LatentVariableModel, x: Tensor) -> bool:
    """Whether the way to the bound of `x`, which fails, is not finite somewhere before it does."""
    seen = _Seen()
    try:
        with _without_trace(model, x.device), seen:
            for _ in _way(model, x):
                pass
    except Exception:
        return seen.any
    return False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".: ")


def _parts(model: object, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The module itself, or the modules among a plain object's attributes, each with the prefix of its names."""
    if isinstance(model, nn.Module):
        yield prefix, model
        return
    for name, part in getattr(model, "__dict__", {}).items():
        if isinstance(part, nn.Module | LatentVariableModel):
            yield from _parts(part, f"{prefix}{name}.")


@contextmanager
def _without_trace(model: object, device: torch.device) -> Iterator[None]:
    """Without gradients, with random numbers of its own; buffers that the block updates are put back."""
    kept = [(each, each.clone()) for module in modules_of(model) for each in module.buffers(recurse=False)]
    with torch.no_grad(), own_random_numbers(device, seed=0):
        try:
            yield
        finally:
            for buffer, value in kept:
                buffer.copy_(value)


@contextmanager
def faults_named(model: LatentVariableModel, x: Tensor, where: str = "") -> Iterator[None]:
    """Raises `NotFinite` in place of an error that numbers which are not finite have caused.

    Args:
        model: what the block calls.
        x: what the block calls it with.
        where: what stands before the term in the message, such as "batch 3: ".
    """
    try:
        yield
    except NotFinite:
        raise
    except (ValueError, RuntimeError) as error:
        try:
            term = not_finite(model, x)
        except Exception:
            term = None
        if term is None:
            raise
        raise NotFinite(f"{where}{term}.") from error
