"""One rule for the temperature of the relaxed distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam._checks import positive

_REMEDY = "A low temperature such as 0.1 is close to the discrete variable, 1.0 is smooth."


def temperature_tensor(temperature: float | Tensor, like: Tensor, batch_shape: torch.Size) -> Tensor:
    """`temperature` as a tensor with the dtype and device of `like`, whose shape `batch_shape` can take.

    A tensor's *values* are not looked at here (that would wait for the device); `validate_args=True` does.
    """
    if not isinstance(temperature, Tensor):
        value = positive("temperature", temperature, remedy=_REMEDY)
        return torch.full((), value, dtype=like.dtype, device=like.device)
    try:
        fits = torch.broadcast_shapes(temperature.shape, batch_shape) == batch_shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"temperature has shape {tuple(temperature.shape)}; it must broadcast to the batch shape "
            f"{tuple(batch_shape)} without enlarging it. Pass a number, or reshape the tensor."
        )
    return temperature.to(like)


def check_equal_temperatures(p: Tensor, q: Tensor) -> None:
    """The closed forms of KL hold at one common temperature only."""
    if p is not q and not bool((p == q).all()):
        raise NotImplementedError(
            "KL between relaxed distributions of different temperatures has no closed form. "
            "Use one temperature for both, or estimate it from samples of the first."
        )
