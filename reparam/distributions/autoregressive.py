"""Discrete variables, each given those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam._tensors import at_least_float32, memo, unwrap
from reparam.distributions.enumeration import joint_support


class Autoregressive(Distribution):
    """Discrete variables in a fixed order: `p(z) = product over d of p(z_d | z_1 ... z_{d-1})`.

    Scoring takes one call of `conditionals`; sampling one for each variable.

    Args:
        conditionals: from z, `[..., *event]`, to independent variables of batch shape `[...]`, coins or one-hot ones,
            of which the d-th may depend on the variables of z before the d-th alone. Nothing checks that it does; a
            masked network such as `reparam.networks.masked_mlp` does.
        start: zeros `[*batch, *event]`, which fix the batch shape, the device and the dtype.
        event_dim: how many of the axes of `start` are those of one draw.
        validate_args: as in `torch.distributions.Distribution`.

    Reference:
        Larochelle, Murray, The Neural Autoregressive Distribution Estimator, AISTATS 2011; Germain, Gregor, Murray,
        Larochelle, MADE: Masked Autoencoder for Distribution Estimation, 2015, arXiv 1502.03509.

    Example:
        >>> coin = lambda logits: torch.distributions.Independent(torch.distributions.Bernoulli(logits=logits), 1)
        >>> same = lambda z: coin(torch.stack([torch.zeros_like(z[..., 0]), 40 * z[..., 0] - 20], -1))
        >>> Autoregressive(same, torch.zeros(2), event_dim=1).log_prob(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        tensor([-0.6931, -0.6931])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_enumerate_support = True

    def __init__(
        self,
        conditionals: Callable[[Tensor], Distribution],
        start: Tensor,
        *,
        event_dim: int,
        validate_args: bool | None = None,
    ) -> None:
        self.conditionals = conditionals
        self.start = start
        num_batch_axes = start.dim() - event_dim
        super().__init__(start.shape[:num_batch_axes], start.shape[num_batch_axes:], validate_args=validate_args)

    @memo
    def _first(self) -> Distribution:
        """The conditionals at zeros: what is asked of it does not depend on z."""
        return self.conditionals(self.start)

    @property
    def support(self) -> Any:
        return self._first.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Autoregressive:
        start = self.start.expand(*batch_shape, *self.event_shape)
        event_dim = len(self.event_shape)
        return Autoregressive(self.conditionals, start, event_dim=event_dim, validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            width = unwrap(self._first)[0].event_shape.numel()
            variables = (*shape[: len(shape) - len(self.event_shape)], -1, width)
            z = self.start.expand(shape).reshape(variables)
            for index in range(self.event_shape.numel() // width):
                drawn = self.conditionals(z.reshape(shape)).sample().reshape(variables)
                z = torch.cat([z[..., :index, :], drawn[..., index : index + 1, :], z[..., index + 1 :, :]], -2)
            return z.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # a value without all batch axes is scored by each member of the batch
        shape = torch.broadcast_shapes(value.shape, self.start.shape)
        return at_least_float32(self.conditionals(value.expand(shape)).log_prob(value))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        states = joint_support(self._first)
        states = states.reshape(len(states), *(1,) * len(self.batch_shape), *self.event_shape)
        return states.expand(-1, *self.batch_shape, *self.event_shape) if expand else states
