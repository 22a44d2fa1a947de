"""torch's distributions as this library's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli as TorchLogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical as TorchExpRelaxedCategorical

from reparam._tensors import at_least_float32, independent, unwrap
from reparam.distributions.bernoulli import Bernoulli
from reparam.distributions.continuous_bernoulli import ContinuousBernoulli
from reparam.distributions.dirichlet import Beta, Dirichlet
from reparam.distributions.gamma import Gamma
from reparam.distributions.laplace import Laplace
from reparam.distributions.log_normal import LogNormal
from reparam.distributions.log_relaxed_categorical import LogRelaxedCategorical
from reparam.distributions.logit_relaxed_bernoulli import LogitRelaxedBernoulli
from reparam.distributions.one_hot_categorical import OneHotCategorical
from reparam.distributions.poisson import Poisson
from reparam.distributions.rounded import Rounded
from reparam.distributions.student_t import StudentT
from reparam.distributions.von_mises import VonMises


def log_odds(given: Any) -> Tensor:
    """The logits of torch's Bernoulli and its like, infinite where `probs` were given as 0 or 1.

    torch makes logits of probabilities that it has cut off at the resolution of their dtype, 1.2e-7 in float32: a coin
    that never shows a one then does so, and one of 1e-12 shows it 100,000 times as often.
    """
    logits: Tensor = given.logits
    if "probs" not in vars(given):  # made of logits
        return logits
    eps = torch.finfo(logits.dtype).eps
    cut = ((given.probs < eps) | (given.probs > 1 - eps)) & (logits.abs() < -1.01 * math.log(eps))
    probs = torch.where(cut, given.probs, 0.5)
    return torch.where(cut, probs.log() - (-probs).log1p(), logits)


def log_probs(given: Any) -> Tensor:
    """The logits of torch's Categorical and its like, `-inf` where `probs` were given as 0; see `log_odds`."""
    logits: Tensor = given.logits
    if "probs" not in vars(getattr(given, "_categorical", given)):
        return logits
    eps = torch.finfo(logits.dtype).eps
    cut = (given.probs < eps) & (logits > 1.01 * math.log(eps))
    return torch.where(cut, torch.where(cut, given.probs, 0.5).log(), logits)


def _same(kind: Any, *names: str) -> Callable[[Any], Distribution]:
    """The class of ours that has the same parameters."""
    return lambda given: kind(*(getattr(given, name) for name in names), validate_args=False)


def _one_hot(given: Any) -> Distribution:
    return OneHotCategorical(log_probs(given), validate_args=False)


_OURS: dict[type[Distribution], Callable[[Any], Distribution]] = {
    td.Bernoulli: lambda given: Bernoulli(log_odds(given), validate_args=False),
    td.Beta: _same(Beta, "concentration1", "concentration0"),
    td.Chi2: _same(Gamma, "concentration", "rate"),
    td.ContinuousBernoulli: _same(ContinuousBernoulli, "logits"),
    td.Dirichlet: _same(Dirichlet, "concentration"),
    td.Exponential: lambda given: Gamma(torch.ones_like(given.rate), given.rate, validate_args=False),
    td.Gamma: _same(Gamma, "concentration", "rate"),
    td.Laplace: _same(Laplace, "loc", "scale"),
    td.LogNormal: _same(LogNormal, "loc", "scale"),
    td.OneHotCategorical: _one_hot,
    td.OneHotCategoricalStraightThrough: _one_hot,
    td.Poisson: lambda given: Poisson(at_least_float32(given.rate).log(), validate_args=False),
    td.StudentT: _same(StudentT, "df", "loc", "scale"),
    td.VonMises: _same(VonMises, "loc", "concentration"),
    TorchExpRelaxedCategorical: lambda given: LogRelaxedCategorical(
        given.temperature, log_probs(given), validate_args=False
    ),
    TorchLogitRelaxedBernoulli: lambda given: LogitRelaxedBernoulli(
        given.temperature, log_odds(given), validate_args=False
    ),
}


def unrounded(distribution: Distribution) -> Distribution:
    """The distribution before its draws were rounded to 16 bits; any other as it is."""
    return independent(*unwrap(distribution)) if isinstance(distribution, Rounded) else distribution


def ours(distribution: Distribution) -> Distribution:
    """A distribution of torch's as this library's of the same values, right at parameters where torch's is not.

    A class that this library does not have, or that somebody derived from one of torch's, is returned as it is. Of
    draws rounded to 16 bits the distribution before rounding is taken.
    """
    distribution = unrounded(distribution)
    base, num_axes = unwrap(distribution)
    make = _OURS.get(type(base))
    return distribution if make is None else independent(make(base), num_axes)
