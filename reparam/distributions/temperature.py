"""One rule for the temperature of the relaxed distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam._checks import positive
from reparam._tensors import at_least_float32

_REMEDY = "A low temperature such as 0.1 is close to the discrete variable, 1.0 is smooth."


def temperature_tensor(temperature: float | Tensor, like: Tensor, batch_shape: torch.Size) -> Tensor:
    """`temperature` as a tensor on the device of `like`, in at least float32, whose shape `batch_shape` can take.

    A tensor's *values* are not looked at here (that would wait for the device); `validate_args=True` does.
    """
    dtype = at_least_float32(like).dtype
    if torch.compiler.is_compiling() and not isinstance(temperature, Tensor):
        # the estimator has checked it; as a factor it stays a variable of the graph, not one graph for each value
        return torch.ones((), dtype=dtype, device=like.device) * temperature
    if not isinstance(temperature, Tensor):
        return torch.full((), positive("temperature", temperature, remedy=_REMEDY), dtype=dtype, device=like.device)
    try:
        fits = torch.broadcast_shapes(temperature.shape, batch_shape) == batch_shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"temperature has shape {tuple(temperature.shape)}; it must broadcast to the batch shape "
            f"{tuple(batch_shape)} without enlarging it. Pass a number, or reshape the tensor."
        )
    return temperature.to(like.device, dtype)


def check_equal_temperatures(p: float | Tensor, q: float | Tensor) -> None:
    """The closed forms of KL hold at one common temperature only. Only two different tensors are read for that."""
    same = p is q or p == q
    if not (bool(same.all()) if isinstance(same, Tensor) else same):
        raise NotImplementedError(
            "KL between relaxed distributions of different temperatures has no closed form. "
            "Use one temperature for both, or estimate it from samples of the first."
        )
