"""A family out of any class of `torch.distributions`, through its own constraints."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution, constraints, transform_to
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from reparam._checks import Shape
from reparam._checks import shape as check_shape
from reparam._tensors import HALF, independent
from reparam.distributions import Beta, Dirichlet, ours
from reparam.families.family import Family

_RELAXED_COINS = "a relaxation is a gradient estimator here. Use rp.Bernoulli and train with rp.Relaxed."
_RELAXED_SYMBOLS = "a relaxation is a gradient estimator here. Use rp.Categorical and train with rp.Relaxed."
_ABSTRACT = "it is abstract. Give a class whose members can be drawn, such as torch.distributions.Gamma."
_REFUSED: dict[type[Distribution], str] = {
    distributions.Distribution: _ABSTRACT,
    distributions.ExponentialFamily: _ABSTRACT,
    distributions.Categorical: "its draws are indices, which a network cannot read. Use rp.Categorical: one-hot draws.",
    distributions.RelaxedBernoulli: _RELAXED_COINS,
    LogitRelaxedBernoulli: _RELAXED_COINS,
    distributions.RelaxedOneHotCategorical: _RELAXED_SYMBOLS,
    ExpRelaxedCategorical: _RELAXED_SYMBOLS,
    distributions.OneHotCategoricalStraightThrough: "its rsample has a biased gradient. Use rp.Categorical and "
    "rp.Relaxed(straight_through=True).",
    distributions.ContinuousBernoulli: "torch's density does not integrate to one (0.8 at logit 20). Use "
    "rp.ContinuousBernoulli; rp.Bernoulli takes grey pixels too.",
    distributions.Kumaraswamy: "torch's density of its own float32 draws is often infinite, near 0 and 1 (14% of draws "
    "at concentrations from 0.05 to 20). Use rp.Kumaraswamy.",
    distributions.LKJCholesky: "torch's draws do not follow its density from 3 variables on (the variance of a "
    "correlation is 0.30, not 0.25, at dim 3, concentration 1). Use MultivariateNormal for correlated vectors.",
    distributions.LogisticNormal: "torch's density of its own float32 draws is off by thousands of nats near a corner "
    "(1% of draws at scales from 0.05 to 20). Use rp.Gaussian and begin the network with nn.Softmax.",
    distributions.Wishart: "torch rejects draws that are singular in float32 and draws again, so that draws do not "
    "follow its density. Use MultivariateNormal for correlated vectors.",
}
# Shape parameters that stay above this: below it, more than a few in ten thousand draws would fall between the numbers
# that float32 has near 0 or 1, or beyond its largest, and the density at a draw would not be that of the draws.
_LEAST: dict[type[Distribution], dict[str, float]] = {
    distributions.Beta: {"concentration1": 0.5, "concentration0": 0.5},
    distributions.Chi2: {"df": 0.2},
    distributions.Dirichlet: {"concentration": 0.1},
    distributions.FisherSnedecor: {"df1": 0.75, "df2": 0.75},
    distributions.Gamma: {"concentration": 0.1},
    distributions.InverseGamma: {"concentration": 0.75},
    distributions.StudentT: {"df": 0.75},
    distributions.Weibull: {"concentration": 0.75},
}


class _Beta(distributions.Beta):
    """torch's Beta with this library's draws."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        ours = Beta(self.concentration1, self.concentration0, validate_args=False)
        return ours.rsample(sample_shape)


class _Dirichlet(distributions.Dirichlet):
    """torch's Dirichlet with this library's draws."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return Dirichlet(self.concentration, validate_args=False).rsample(sample_shape)


# The gradient of torch's draws is wrong for a large concentration beside a small one: by 3% at (1e4, 1), and lost in
# noise at (1e5, 3).
_REDRAWN: dict[type[Distribution], type[Distribution]] = {
    distributions.Beta: _Beta,
    distributions.Dirichlet: _Dirichlet,
}
# Of several ways to give the same parameter, the one that an unconstrained network output fits best.
_REDUNDANT = {"logits": ["probs"], "scale_tril": ["covariance_matrix", "precision_matrix"]}


class TorchFamily(Family):
    """Independent draws of any torch distribution whose parameters can be mapped from real numbers.

    Each parameter takes as many raw numbers as it needs and passes through `transform_to(constraint)`: a positive
    parameter is `exp(raw)`, a probability `sigmoid(raw)`, a Cholesky factor has exp on its diagonal. Raw zeros give the
    standard member: scale 1, probability 1/2, the identity. Some shape parameters are `least + (1 - least) exp(raw)`,
    so that float32 can hold the draws: least is 3/4 for df of StudentT and FisherSnedecor and for concentration of
    InverseGamma and Weibull, 1/2 for Beta, 1/5 for df of Chi2, 1/10 for concentration of Gamma and Dirichlet. Draws of
    Beta and Dirichlet are those of `reparam.distributions`, whose gradients are right at any concentration.

    Args:
        distribution: a class such as `torch.distributions.Gamma`.
        shape: of one draw; for a distribution over vectors the last axis is the vector.
        fixed: parameters that no network gives, by name: `total_count=10`.

    Raises:
        TypeError: not a class of torch distributions, or one that this cannot express; the message gives the reason.

    Example:
        >>> family = TorchFamily(torch.distributions.Gamma, 5)
        >>> family.num_params, family(torch.zeros(3, 10)).log_prob(torch.ones(3, 5)).shape
        (10, torch.Size([3]))
    """

    def __init__(self, distribution: type[Distribution], shape: Shape, **fixed: Any) -> None:
        self.distribution = distribution
        self.shape = shape
        self.fixed = fixed
        self.event_shape = check_shape("shape", shape)
        # estimators that work on logits make draws in the dtype of those, so 16 bits stay 16 bits
        self.takes_half = distribution in (distributions.Bernoulli, distributions.OneHotCategorical)
        if not (isinstance(distribution, type) and issubclass(distribution, Distribution)):
            raise TypeError(f"distribution is {distribution!r}; give a class, such as torch.distributions.Gamma.")
        if distribution in _REFUSED:
            raise self._refusal(_REFUSED[distribution])
        event_dim = self._support_event_dim()
        self._batch_axes = len(self.event_shape) - event_dim
        if self._batch_axes < 0:
            raise self._refusal(f"one draw has {event_dim} axes, more than shape {tuple(self.event_shape)} has.")
        self._constraints = self._free_constraints()
        self._raw_shapes = {name: self._raw_shape(constraint) for name, constraint in self._constraints.items()}
        self._sizes = [shape.numel() for shape in self._raw_shapes.values()]
        self.num_params = sum(self._sizes)
        try:
            standard = self._distribution(torch.zeros(self.num_params), validate_args=True)
        except (TypeError, ValueError, RuntimeError) as error:
            raise self._refusal(f"building it failed: {error}") from error
        if standard.batch_shape or standard.event_shape != self.event_shape:
            made = (*standard.batch_shape, *standard.event_shape)
            raise self._refusal(f"one draw has shape {made}, not {tuple(self.event_shape)}.")

    def __repr__(self) -> str:
        fixed = "".join(f", {name}={value!r}" for name, value in self.fixed.items())
        return f"TorchFamily({getattr(self.distribution, '__name__', self.distribution)}, {self.shape}{fixed})"

    def features(self, z: Tensor) -> Tensor:
        """A draw as flat numbers; integer draws become floats."""
        return super().features(z if z.is_floating_point() else z.to(torch.get_default_dtype()))

    def _distribution(self, params: Tensor, validate_args: bool = False) -> Distribution:
        parts = zip(self._constraints.items(), self._raw_shapes.values(), params.split(self._sizes, -1), strict=True)
        values = {
            name: transform_to(constraint)(part.reshape(part.shape[:-1] + shape))
            for (name, constraint), shape, part in parts
        }
        for name, least in _LEAST.get(self.distribution, {}).items():
            if name in values:
                values[name] = least + (1 - least) * values[name]
        fixed = {name: v.to(params) if isinstance(v, Tensor) else v for name, v in self.fixed.items()}
        made: Any = _REDRAWN.get(self.distribution, self.distribution)
        member = independent(made(**values, **fixed, validate_args=validate_args), self._batch_axes)
        return ours(member) if params.dtype in HALF else member

    def _refusal(self, reason: str) -> TypeError:
        return TypeError(f"{self} cannot be a family: {reason}")

    def _support_event_dim(self) -> int:
        """How many axes one draw has. A support that moves with real parameters is refused."""
        if getattr(self.distribution, "arg_constraints", None) == {}:
            raise self._refusal("it wraps other distributions. Write a Family with the map you want.")
        try:
            support: Any = self.distribution.support
            if constraints.is_dependent(support) and not support.is_discrete:
                raise self._refusal(
                    "its support moves with its parameters. Where a draw leaves another member's support, a bound is "
                    "-inf at best, and torch's density often wrong. Use Beta or Gamma, whose support stays."
                )
            return int(support.event_dim)
        except (NotImplementedError, AttributeError) as error:
            raise self._refusal(
                "its support is known of its members only. Write a Family with the map you want."
            ) from error

    def _free_constraints(self) -> dict[str, Any]:
        """The constraints of the parameters that a network is to give."""
        declared = getattr(self.distribution, "arg_constraints", None)
        if not isinstance(declared, dict):
            raise self._refusal("its arg_constraints depend on one another. Write a Family with the map you want.")
        known = set(inspect.signature(self.distribution.__init__).parameters) - {"self", "validate_args"}
        unknown = set(self.fixed) - known
        if unknown:
            raise self._refusal(f"it has no parameter {sorted(unknown)}; it has {sorted(known)}.")
        groups = [{name, *others} for name, others in _REDUNDANT.items()]
        dropped = {other for name in declared for other in _REDUNDANT.get(name, []) if other in declared}
        dropped |= {name for group in groups if group & set(self.fixed) for name in group}
        free = {name: c for name, c in declared.items() if name not in dropped and name not in self.fixed}
        for name, constraint in free.items():
            if constraints.is_dependent(constraint) or constraint.is_discrete:
                raise self._refusal(f"{name} is not a map of a real number. Fix it: TorchFamily(..., {name}=value).")
        if not free:
            raise self._refusal("no parameter is left for a network to give.")
        return free

    def _raw_shape(self, constraint: Any) -> torch.Size:
        """Shape of the unconstrained numbers behind one parameter of one draw."""
        batch, width = self.event_shape[: self._batch_axes], self.event_shape[-1:]
        try:
            raw_shape = transform_to(constraint).inverse_shape(batch + width * constraint.event_dim)
        except NotImplementedError as error:
            raise self._refusal(f"torch has no transform onto {constraint}.") from error
        return torch.Size(raw_shape)
