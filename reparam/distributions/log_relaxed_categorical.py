"""The Concrete (Gumbel-softmax) distribution in log-simplex space."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32, normalized, within_range
from reparam.distributions.noise import gumbel
from reparam.distributions.temperature import check_equal_temperatures, temperature_tensor


class _LogSimplex(constraints.Constraint):
    """Vectors y with `logsumexp(y) = 0`, up to the resolution of their dtype; finite but for what is ruled out.

    Args:
        included: which categories are not ruled out, `[..., C]`.
    """

    event_dim = 1

    def __init__(self, included: Tensor) -> None:
        self.included = included
        super().__init__()

    def holds(self, value: Tensor) -> Tensor:
        """Whether exactly the entries are infinite that have to be."""
        infinite = value <= -torch.finfo(value.dtype).max  # half precision ends there
        return torch.where(self.included, value > -torch.inf, infinite).all(-1)

    def check(self, value: Tensor) -> Tensor:
        tolerance = 64 * torch.finfo(value.dtype).eps
        return self.holds(value) & (at_least_float32(value).logsumexp(-1).abs() < tolerance)


class LogRelaxedCategorical(Distribution):
    """A one-hot variable relaxed to a log-simplex point y: `exp(y)` sums to one, near a corner at a low temperature.

    `y = log_softmax((logits + g) / T)` with g standard Gumbel, and with `s = log_softmax(logits - T y)`

    `log_prob(y) = log (C - 1)! + (C - 1) log T + sum_k s_k`  (nats).

    The density is with respect to Lebesgue measure on the C - 1 log-ratios `y_k - y_C`; for C = 2 that is the logit,
    and the density is that of `LogitRelaxedBernoulli`. Everything happens in log space and in at least float32, so
    that the distribution scores its own samples at any temperature, in half precision too. `exp(y)` is torch's
    `RelaxedOneHotCategorical`; a hard one-hot vector has `-inf` entries in y and density zero. A category that a logit
    rules out, by being `-inf` or beside one of `inf`, has the entry `-inf` in each draw, and the others are relaxed as
    if it were not there.

    Args:
        temperature: T > 0, a number or a tensor that broadcasts to the batch shape `logits.shape[:-1]`.
        logits: unnormalised log-probabilities `[..., C]` of the categorical variable that is relaxed.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: a temperature that is not above 0, or of a shape that the batch cannot take.

    Reference:
        Maddison, Mnih, Teh, The Concrete Distribution, 2016, arXiv 1611.00712, section 3 and appendix C
        (ExpConcrete);
        Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax, 2016, arXiv 1611.01144.

    Example:
        >>> relaxed = LogRelaxedCategorical(0.05, torch.randn(8, 10))
        >>> bool(relaxed.log_prob(relaxed.rsample()).isfinite().all())
        True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "temperature": constraints.positive,
        "logits": constraints.real_vector,
    }
    has_rsample = True

    def __init__(self, temperature: float | Tensor, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self._given_temperature = temperature
        self.temperature = temperature_tensor(temperature, logits, logits.shape[:-1])
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> _LogSimplex:
        return _LogSimplex(self._log_probs()[0])

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogRelaxedCategorical:
        logits = self.logits.expand((*batch_shape, *self.event_shape))
        return LogRelaxedCategorical(self._given_temperature, logits, validate_args=self._validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        logits = self.logits.expand(self._extended_shape(sample_shape))
        y = normalized((at_least_float32(logits) + gumbel(logits)) / self.temperature.unsqueeze(-1))
        return within_range(y, self.logits.dtype)

    def _log_probs(self) -> tuple[Tensor, Tensor]:
        """Which categories are possible, and log-probabilities with zero for the others."""
        log_probs = normalized(at_least_float32(self.logits))
        included = log_probs > -torch.inf
        return included, torch.where(included, log_probs, 0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        included, log_probs = self._log_probs()
        inside = _LogSimplex(included).holds(value)
        finite = torch.where(included & inside.unsqueeze(-1), at_least_float32(value), 0.0)
        noise = torch.where(included, log_probs - self.temperature.unsqueeze(-1) * finite, -torch.inf)
        scores = torch.where(included, noise.log_softmax(-1), 0.0)
        num_categories = included.sum(-1).to(scores.dtype)
        log_scale = num_categories.lgamma() + (num_categories - 1) * self.temperature.log()
        return torch.where(inside, log_scale + scores.sum(-1), -torch.inf)


def _log_mean_weighted_exponentials(log_weights: Tensor) -> Tensor:
    """`E[log sum_k w_k E_k]` over independent Exp(1) draws E_k, by quadrature, from `log w` on the last axis.

    Frullani's integral turns the logarithm into Laplace transforms, `1 / (1 + w t)` for each draw:
    `E[log S] = integral over u of exp(-e^u) - prod_k 1 / (1 + w_k e^u)`. The integrand is analytic in a strip and
    decays exponentially on both sides once the largest weight is 1, where the trapezoid rule converges geometrically.
    """
    largest = log_weights.amax(-1, keepdim=True)
    step, reach = 0.25, 40.0
    u = torch.arange(-reach, reach + step, step, dtype=log_weights.dtype, device=log_weights.device)
    exponents = (log_weights - largest).unsqueeze(-1) + u
    log_product = -F.softplus(exponents).sum(-2)
    # Near the left end both terms are near 1: their difference as expm1, so that no digit is lost.
    difference = torch.expm1(-u.exp()) - torch.expm1(log_product)
    return largest.squeeze(-1) + step * difference.sum(-1)


@register_kl(LogRelaxedCategorical, LogRelaxedCategorical)
def _kl_relaxed_relaxed(p: LogRelaxedCategorical, q: LogRelaxedCategorical) -> Tensor:
    # With y from p, T y = logits_p + g - const, so both scores are functions of the Gumbel noise alone: KL does not
    # depend on the temperature, and with e^-g ~ Exp(1) it is one integral.
    check_equal_temperatures(p._given_temperature, q._given_temperature)
    (included, log_p), (other, log_q) = p._log_probs(), q._log_probs()
    delta = torch.where(included & other, log_p - log_q, 0.0)
    excluded = torch.where(included, 0.0, -torch.inf).to(delta)
    # without weights the integral is digamma(C); by the same rule, so that its error cancels and KL(p, p) is 0
    unweighted = _log_mean_weighted_exponentials(excluded)
    weighted = _log_mean_weighted_exponentials(excluded - delta)
    finite = delta.sum(-1) + included.sum(-1) * (weighted - unweighted)
    return finite.masked_fill((included != other).any(-1), torch.inf)
