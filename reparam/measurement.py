"""What `evaluate` returns: means over examples with their errors."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass


class UnreliableWeights(UserWarning):
    """`evaluate` issues it where `Evaluation.log_likelihood` may be too low by far more than its error."""


@dataclass(frozen=True)
class Measurement:
    """A mean over examples, in nats per example.

    Attributes:
        value: the mean.
        standard_error: of the mean as a statement about the population the examples come from.
        monte_carlo_error: standard deviation of the mean over new draws of z for these very examples. It does not hold
            the distance of a bound from log p(x). NaN where K samples do not tell it: from one sample, and that of
            `log_likelihood` from two.
    """

    value: float
    standard_error: float
    monte_carlo_error: float

    def __eq__(self, other: object) -> bool:
        """Whether all three are equal; NaN equals NaN."""
        if not isinstance(other, Measurement):
            return NotImplemented
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)

    def __hash__(self) -> int:
        return hash(None if math.isnan(self.value) else self.value)

    def __str__(self) -> str:
        return f"{self.value:.4f} +/- {self.standard_error:.4f}"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found, in nats per example.

    Attributes:
        elbo: mean of log w; a lower bound of log p(x) in expectation.
        iwae: the importance-weighted bound with K = `num_samples`; a tighter lower bound in expectation.
        log_likelihood: log p(x) from the same K weights, their bias of order 1/K removed by the jackknife. An estimate,
            not a bound. Look at `unreliable` before you quote it.
        rate: mean of log q(z|x) - log p(z), an estimate of KL(q || p).
        distortion: mean of -log p(x|z); `elbo = -rate - distortion`.
        pareto_k: median over the examples of the shape k of their weights' tail, `w^(-1/k)`. From 0.5 on the weights
            have infinite variance, from 1 on no mean. None for fewer than 100 samples.
        unreliable: share of the examples with a k above min(1 - 1 / log10(K), 0.7). Their log p(x) rests on larger
            weights than any that was drawn: `log_likelihood` and `iwae` are too low for them, by an amount that no
            error shows. None for fewer than 100 samples.
        active_units: latent variables whose posterior mean varies over the data by more than 0.01 (variance); None
            where the posterior has no mean in closed form.
        num_samples: K.
        num_examples: N.

    The Monte Carlo errors of `iwae` and `log_likelihood` are Efron and Stein's: in expectation the square is at least
    the variance for K - 1 samples. Measured for tails of k = -0.6 to 0.98, the claimed error over the actual spread is
    1.0 to 1.1 from K = 16 on; below it errs to the large side, up to 1.5 at K = 3 and, for `iwae`, 2 at K = 2. Of one
    example alone with a heavy tail most runs claim less, and the few that have drawn a large weight far more.

    Reference:
        Burda, Grosse, Salakhutdinov, 2015, arXiv 1509.00519, equation 8 and section 5.2 (active units); Nowozin,
        Debiasing Evidence Approximations: On Importance-weighted Autoencoders and Jackknife Variational Inference,
        ICLR 2018 (log_likelihood); Efron, Stein, The Jackknife Estimate of Variance, Annals of Statistics 9, 1981
        (errors); Vehtari, Simpson, Gelman, Yao, Gabry, Pareto Smoothed Importance Sampling, JMLR 25, 2024, arXiv
        1507.02646 (pareto_k, unreliable).
    """

    elbo: Measurement
    iwae: Measurement
    log_likelihood: Measurement
    rate: Measurement
    distortion: Measurement
    pareto_k: float | None
    unreliable: float | None
    active_units: int | None
    num_samples: int
    num_examples: int
