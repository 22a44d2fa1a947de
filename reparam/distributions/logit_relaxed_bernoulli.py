"""The binary Concrete distribution in logit space."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32, within_range
from reparam.distributions.noise import logistic
from reparam.distributions.temperature import check_equal_temperatures, temperature_tensor


class LogitRelaxedBernoulli(Distribution):
    """A Bernoulli variable relaxed to a real number y, with `sigmoid(y)` close to 0 or 1 at a low temperature T.

    `y = (logits + s) / T` with s standard logistic, so y is logistic with mean `logits / T` and scale `1 / T`, and

    `log_prob(y) = log T - |d| - 2 softplus(-|d|)` with `d = logits - T y`  (nats, with respect to dy).

    Noise is drawn and scored from the logits in at least float32, never through probabilities: samples, densities and
    gradients stay finite at any temperature and logit, in half precision too. `sigmoid(y)` is torch's
    `RelaxedBernoulli`; a hard 0 or 1 is y = -inf or +inf and has density zero.

    Args:
        temperature: T > 0, a number or a tensor that broadcasts to the shape of `logits`.
        logits: log-odds of the Bernoulli variable that is relaxed.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: a temperature that is not above 0, or of a shape that `logits` cannot take.

    Reference:
        Maddison, Mnih, Teh, The Concrete Distribution, 2016, arXiv 1611.00712, appendix B (the binary case).

    Example:
        >>> LogitRelaxedBernoulli(0.5, torch.zeros(2)).log_prob(torch.tensor([0.0, 200.0]))
        tensor([  -2.0794, -100.6931])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "temperature": constraints.positive,
        "logits": constraints.real,
    }
    support = constraints.real
    has_rsample = True

    def __init__(self, temperature: float | Tensor, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self._given_temperature = temperature
        self.temperature = temperature_tensor(temperature, logits, logits.shape)
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.logits / self.temperature

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def variance(self) -> Tensor:
        return (math.pi / self.temperature).square().expand_as(self.logits) / 3

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogitRelaxedBernoulli:
        return LogitRelaxedBernoulli(
            self._given_temperature, self.logits.expand(batch_shape), validate_args=self._validate_args
        )

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        logits = self.logits.expand(self._extended_shape(sample_shape))
        y = (logits + logistic(logits)) / self.temperature
        return within_range(y, self.logits.dtype)

    def _distance(self, value: Tensor) -> Tensor:
        """The logistic noise, up to its sign, that leads to `value`; zero from an infinite logit to its own draw."""
        logits, value = at_least_float32(self.logits), at_least_float32(value)
        return torch.where(logits.isinf() & (logits == value), 0.0, logits - self.temperature * value)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = self._distance(value).abs()
        return self.temperature.log() - distance - 2 * F.softplus(-distance)

    def cdf(self, value: Tensor) -> Tensor:
        return (-self._distance(value)).sigmoid()

    def icdf(self, value: Tensor) -> Tensor:
        return (self.logits + torch.logit(value)) / self.temperature

    def entropy(self) -> Tensor:
        return (2 - self.temperature.log()).expand_as(self.logits)


def _logistic_kl(d: Tensor) -> Tensor:
    """KL in nats between two logistics of scale 1 whose means differ by `d`: `d coth(d / 2) - 2`."""
    # Near zero the closed form cancels, so there the Taylor series stands in; `safe` keeps NaN out of its gradient.
    near = d.abs() < 0.25
    safe = torch.where(near, 1.0, d.abs()).clamp_max(torch.finfo(d.dtype).max)
    decay = (-safe).exp()
    far_value = safe + 2 * safe * decay / (-torch.expm1(-safe)) - 2
    d2 = torch.where(near, d, 0.0).square()
    near_value = d2 / 6 * (1 - d2 / 60 * (1 - d2 / 42 * (1 - d2 / 40 * (1 - d2 / 39.6))))
    return torch.where(near, near_value, far_value).masked_fill(d.isinf(), torch.inf)


@register_kl(LogitRelaxedBernoulli, LogitRelaxedBernoulli)
def _kl_relaxed_relaxed(p: LogitRelaxedBernoulli, q: LogitRelaxedBernoulli) -> Tensor:
    # At one temperature T y is logistic of scale 1 under both, and KL does not see the common factor.
    check_equal_temperatures(p._given_temperature, q._given_temperature)
    p_logits, q_logits = at_least_float32(p.logits), at_least_float32(q.logits)
    return _logistic_kl(torch.where(p_logits == q_logits, 0.0, p_logits - q_logits))
