"""Small tensor helpers that several floors share."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

T = TypeVar("T")


class memo(Generic[T]):
    """A property computed once: `functools.cached_property` without its lock, which `torch.compile` cannot enter."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> memo[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> memo[T] | T:
        if instance is None:  # looked up on the class, by help() for one
            return self
        name = self.compute.__name__
        if name not in instance.__dict__:
            instance.__dict__[name] = self.compute(instance)
        value: T = instance.__dict__[name]
        return value


def log_mean_exp(log_values: Float[Tensor, "K *rest"]) -> Float[Tensor, "*rest"]:
    """log of the mean of `exp(log_values)` over the first axis, without overflow; `-inf` where all of them are."""
    mean = that_count(log_values).logsumexp(0) - math.log(log_values.shape[0])
    return mean.masked_fill(log_values.detach().amax(0) == -torch.inf, -torch.inf)


def shares(log_weight: Float[Tensor, "K *rest"]) -> Float[Tensor, "K *rest"]:
    """What each weight is of the sum of the K, without a gradient; zero where it does not count."""
    counted = that_count(log_weight.detach())
    return torch.where(log_weight.detach() < counted, 0.0, counted.softmax(0))


def that_count(log_values: Tensor) -> Tensor:
    """`log_values`, none so far below the largest on the first axis that no digit of their sum could tell.

    Below the square of the unit roundoff (1e-14 in float32) the terms get no gradient. Where 50 samples compete most
    weights are e^-40 of the largest and less, and their gradients reach the matrix products of the backward pass as
    denormal numbers, on which a CPU is five times as slow. Where all values are `-inf`, all become the lowest finite
    number, so that their differences are zero and not NaN.
    """
    info = torch.finfo(log_values.dtype)
    least = log_values.detach().amax(0) + 2 * math.log(info.eps)
    return log_values.clamp_min(least.clamp_min(info.min))


def possible(log_values: Tensor) -> Tensor:
    """`log_values` with zero, a constant, for each `-inf`: the terms of a sum that have a gradient."""
    return log_values.masked_fill(log_values.detach() == -torch.inf, 0.0)


def normalized(logits: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
    """`log_softmax` on the last axis in its limits: a logit of `inf` leaves `-inf` to the finite ones beside it.

    Differences above 1e28 nats count as infinite. Infinite logits get no gradient.
    """
    return F.threshold(F.hardtanh(logits, -torch.inf, 1e30).log_softmax(-1), -1e28, -torch.inf)


HALF = (torch.float16, torch.bfloat16)


def at_least_float32(x: Tensor) -> Tensor:
    """Half-precision tensors as float32, anything else as it is.

    The tails of the relaxed distributions need more than the 10 bits of float16 or the 7 of bfloat16.
    """
    return x.float() if x.dtype in HALF else x


class _Widened(torch.autograd.Function):
    """Half-precision numbers as float32, whose gradient comes back inside the range of the half precision."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.float()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
        ctx.dtype = inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return within_range(gradient, ctx.dtype)


def widened(x: Tensor) -> Tensor:
    """Half-precision numbers as float32. A gradient that float16 cannot hold becomes its largest number, not inf."""
    function: Any = _Widened  # has no types
    wide: Tensor = function.apply(x)
    return wide


def widened_module(module: nn.Module) -> nn.Module:
    """A module that computes in float32 with the 16-bit weights of `module`, which get its gradients.

    Its tensors are those of this moment: make one for each use.
    """
    twin = copy.copy(module)
    for kind in ("_parameters", "_buffers"):
        tensors: dict[str, Tensor | None] = module.__dict__[kind]
        wide = {name: widened(x) if x is not None and x.dtype in HALF else x for name, x in tensors.items()}
        twin.__dict__[kind] = wide
    children = module._modules.items()
    twin.__dict__["_modules"] = {name: None if child is None else widened_module(child) for name, child in children}
    return twin


def least_positive(dtype: torch.dtype) -> float:
    """The least number above 0 that draws take: the smallest normal one, or in float16 the smallest of all, 6e-8."""
    info = torch.finfo(dtype)
    return info.tiny * info.eps if dtype == torch.float16 else info.tiny


def within_range(y: Tensor, dtype: torch.dtype) -> Tensor:
    """`y` in `dtype`, cut off at its ends: float16 ends at 65504, and a sample rounded to inf could not be scored."""
    if y.dtype == dtype:
        return y
    limit = torch.finfo(dtype).max
    return y.clamp(-limit, limit).to(dtype)


def version_of(z: Tensor) -> float:
    """How often z was changed in place; NaN, which equals nothing, where that is not counted."""
    if torch.compiler.is_compiling():
        return 0
    return math.nan if z.is_inference() else z._version


def unwrap(distribution: Distribution) -> tuple[Distribution, int]:
    """The distribution inside nested `Independent`s, and how many batch axes they turn into event axes."""
    num_reinterpreted = 0
    while isinstance(distribution, Independent):
        num_reinterpreted += distribution.reinterpreted_batch_ndims
        distribution = distribution.base_dist
    return distribution, num_reinterpreted


def independent(distribution: Distribution, num_axes: int) -> Distribution:
    """`distribution` with its last `num_axes` batch axes counted as event axes; itself when there are none."""
    return Independent(distribution, num_axes, validate_args=False) if num_axes else distribution


def flat(network: Callable[[Tensor], Tensor], inputs: Tensor, dtype: torch.dtype) -> Float[Tensor, "B m"]:
    """The output of `network` for each row, flattened and in `dtype`; a tuple of tensors is joined in its order.

    Mixed precision computes the products in 16 bits and gives such a result; parameters of a distribution are not to
    be worked with in it, nor draws made.

    Raises:
        TypeError: the network returned neither a tensor nor a tuple of tensors.
        ValueError: the network did not return one row for each row of `inputs`.
    """
    outputs: object = network(inputs)
    parts = outputs if isinstance(outputs, tuple | list) else (outputs,)
    matching = [part for part in parts if isinstance(part, Tensor) and part.shape[:1] == inputs.shape[:1]]
    if len(matching) != len(parts) or not parts:
        raise _wrong_output(network, outputs, len(inputs))
    rows = [part.reshape(len(part), -1) for part in matching]
    return (rows[0] if len(rows) == 1 else torch.cat(rows, 1)).to(dtype)


def _wrong_output(network: object, outputs: object, num_rows: int) -> Exception:
    """The error for an output that holds no parameters of a distribution."""
    name = type(network).__name__
    parts = outputs if isinstance(outputs, tuple | list) and outputs else (outputs,)
    rule = f"a network returns a tensor with one row for each of its {num_rows} inputs, or a tuple such as (mu, logvar)"
    for part in parts:
        if not isinstance(part, Tensor):
            return TypeError(f"the network {name} returned a {type(part).__name__}; {rule}. Return its tensor alone.")
    shapes = ", ".join(str(tuple(part.shape)) for part in parts if isinstance(part, Tensor))
    return ValueError(f"the network {name} returned shape {shapes}; {rule}. Keep the batch as the first axis.")


def folded(network: Callable[[Tensor], Tensor], features: Float[Tensor, "*lead n"]) -> Float[Tensor, "*lead m"]:
    """`network` with all leading axes folded into one, so that convolutions may be used, and its outputs flattened."""
    outputs = flat(network, features.reshape(-1, features.shape[-1]), features.dtype)
    return outputs.reshape(*features.shape[:-1], outputs.shape[-1])
