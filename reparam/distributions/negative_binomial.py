"""The negative binomial by its mean and dispersion, down to its Poisson limit."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam._tensors import at_least_float32, within_range
from reparam.distributions.gamma_draws import gamma_draws
from reparam.distributions.log_masses import LOG_TWO_PI, shortfall, split_counts
from reparam.distributions.poisson import draw_counts
from reparam.distributions.stirling import remainder


class NegativeBinomial(Distribution):
    """A count with mean `m = exp(log_mean)` and variance `m + a m^2`, where `a = exp(log_dispersion)`.

    With `r = 1 / a`, for x in {0, 1, 2, ...} (and `-inf` for anything else):

    `log_prob(x) = log G(r + x) - log G(r) - log x! + r log(r / (r + m)) + x log(m / (r + m))`, G the gamma function.

    It is a Poisson count whose rate has a gamma distribution of shape r; a -> 0 is the Poisson distribution itself. In
    torch's terms `total_count = r` and `logits = log_mean + log_dispersion`; its differences of log-gammas are wrong
    in float32 by 0.7 nats at r = 1e6, x = 3, m = 5 and by 53 nats at r = 1e8. Here nothing cancels: 3e-6 there, 0.002
    at m = 1e6 within four standard deviations, from the rounding of log m and log x.

    Args:
        log_mean: up to 80 in float32, and any negative number.
        log_dispersion: any real number; below -80 it counts as -80, which is Poisson to the last digit.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> geometric = NegativeBinomial(torch.zeros(3), torch.zeros(3), validate_args=False)
        >>> geometric.log_prob(torch.tensor([0.0, 1.0, 0.5]))
        tensor([-0.6931, -1.3863,    -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "log_mean": constraints.real,
        "log_dispersion": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, log_dispersion: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_mean, self.log_dispersion = torch.broadcast_tensors(log_mean, log_dispersion)
        super().__init__(self.log_mean.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return at_least_float32(self.log_mean).exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + (at_least_float32(self.log_dispersion) + 2 * at_least_float32(self.log_mean)).exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> NegativeBinomial:
        return NegativeBinomial(
            self.log_mean.expand(batch_shape),
            self.log_dispersion.expand(batch_shape),
            validate_args=self._validate_args,
        )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            # At a shape of 1e-20 all draws are 0 already.
            shape = (-at_least_float32(self.log_dispersion)).exp().clamp(1e-20, 1e20)
            number, log_factor = gamma_draws(shape, self._extended_shape(sample_shape))
            rate = (at_least_float32(self.log_mean) + log_factor).exp() * (number / shape)
            return within_range(draw_counts(rate.clamp_max(torch.finfo(rate.dtype).max)), self.log_mean.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x, positive, inside = split_counts(value)
        log_m, log_r = at_least_float32(self.log_mean), -at_least_float32(self.log_dispersion).clamp(min=-80)
        at_zero = log_r.exp() * F.logsigmoid(log_r - log_m)
        log_prob = torch.where(positive, _log_prob_of_positive(x, log_m, log_r), at_zero)
        return torch.where(inside, log_prob, -torch.inf)


def _log_prob_of_positive(x: Tensor, log_m: Tensor, log_r: Tensor) -> Tensor:
    """As `r / (r + x)` times the binomial probability of r successes among r + x trials, in the form of Loader."""
    r, log_x = log_r.exp(), x.log()
    # log (r + x) / (r + m) and log (r + x) m / (x (r + m)), each from a part that is exact where both its terms agree
    # and a part of logarithms near 1
    rest = torch.log1p((-(log_r - log_x).abs()).exp()) - torch.log1p((-(log_r - log_m).abs()).exp())
    ratio_r = torch.maximum(log_x, log_r) - torch.maximum(log_m, log_r) + rest
    ratio_x = torch.minimum(log_m, log_r) - torch.minimum(log_x, log_r) + rest
    # the exponentials in the two shortfalls add up to 0: they keep both small near the mode, and are left out far away
    near = ratio_r.abs() < 1
    small = shortfall(r, torch.where(near, ratio_r, 0.0)) + shortfall(x, torch.where(near, ratio_x, 0.0))
    loss = torch.where(near, small, -r * ratio_r - x * ratio_x)
    errors = remainder(r + x) - remainder(r, log_r) - remainder(x)
    return errors - loss + (F.logsigmoid(log_r - log_x) - log_x - LOG_TWO_PI) / 2
