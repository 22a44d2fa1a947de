"""A mixture of members of one family."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam._tensors import at_least_float32, unwrap
from reparam.distributions.enumeration import joint_support
from reparam.distributions.noise import gumbel


class Mixture(Distribution):
    """One of M distributions, drawn by its weight: `p(z) = sum over m of w_m p_m(z)`, `w = softmax(logits)`.

    Against torch's `MixtureSameFamily` it lists the states of discrete components, returns `log_prob` in at least
    float32, and a value that is impossible under each component leaves no NaN in a gradient.

    Args:
        logits: unnormalised log-weights `[..., M]`.
        components: the M distributions, with batch shape `[..., M]`.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: batch shapes that differ.

    Example:
        >>> normals = torch.distributions.Normal(torch.tensor([-2.0, 2.0]), 1.0)
        >>> Mixture(torch.zeros(2), normals, validate_args=False).log_prob(torch.tensor(0.0))
        tensor(-2.9189)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, components: Distribution, *, validate_args: bool | None = None) -> None:
        if logits.dim() < 1 or logits.shape != components.batch_shape:
            raise ValueError(
                f"logits have shape {tuple(logits.shape)} and the components batch shape "
                f"{tuple(components.batch_shape)}; both must be [..., M]. Wrap per-element components in "
                "torch.distributions.Independent, so that one batch entry is one component."
            )
        self.logits = logits
        self.components = components
        self.has_enumerate_support = unwrap(components)[0].has_enumerate_support
        super().__init__(logits.shape[:-1], components.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return self.components.support

    @property
    def log_weights(self) -> Tensor:
        """Normalised log-weights `[..., M]`, in at least float32."""
        return at_least_float32(self.logits).log_softmax(-1)

    @property
    def mean(self) -> Tensor:
        return self._averaged(self.components.mean)

    @property
    def variance(self) -> Tensor:
        spread = self.components.mean - self.mean.unsqueeze(self._axis)
        return self._averaged(self.components.variance + spread.square())

    def expand(self, batch_shape: Any, _instance: Any = None) -> Mixture:
        shape = (*batch_shape, self.logits.shape[-1])
        return Mixture(self.logits.expand(shape), self.components.expand(shape), validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            z = self.components.sample(sample_shape)
            logits = self.logits.expand(*sample_shape, *self.logits.shape)
            index = (logits + gumbel(logits)).argmax(-1, keepdim=True)
            index = index.reshape(*index.shape, *(1,) * len(self.event_shape))
            return z.take_along_dim(index, self._axis).squeeze(self._axis)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_joint = self.log_weights + at_least_float32(self.components.log_prob(value.unsqueeze(self._axis)))
        # log-sum-exp of nothing but -inf has a NaN for a gradient
        possible = (log_joint > -torch.inf).any(-1)
        log_prob = torch.where(possible.unsqueeze(-1), log_joint, 0.0).logsumexp(-1)
        return torch.where(possible, log_prob, -torch.inf)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        states = joint_support(self.components)
        states = states.reshape(len(states), *(1,) * len(self.batch_shape), *self.event_shape)
        return states.expand(-1, *self.batch_shape, *self.event_shape) if expand else states

    @property
    def _axis(self) -> int:
        """Where the components are among the axes of their draws."""
        return -1 - len(self.event_shape)

    def _averaged(self, values: Tensor) -> Tensor:
        weights = at_least_float32(self.logits).softmax(-1)
        return (weights.reshape(*weights.shape, *(1,) * len(self.event_shape)) * values).sum(self._axis)
