"""Score functions with a differentiable stand-in of the likelihood for a control variate: MuProp, REBAR, RELAX."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reparam._checks import number, positive
from reparam._tensors import possible
from reparam.bounds import elbo
from reparam.draws import score
from reparam.estimators.estimate import (
    Estimate,
    Objective,
    OfElbo,
    Scheduled,
    bound_name,
    check_elbo,
    check_samples,
    fixed_samples,
    one_number_each,
    penalty,
)
from reparam.factors import factors_of
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule
from reparam.surrogates import advantage_over_others, finite_signal

_REMEDY = "Use Pathwise where the latent has an rsample, RLOO for any."


@dataclass(frozen=True, repr=False)
class MuProp(OfElbo):
    """The score function less a first-order Taylor expansion of log p(x|z) at z's mean, whose own gradient is known.

    Unbiased for the gradient of the ELBO. With K >= 2 samples what remains is also compared with the other samples'
    mean, in place of the paper's learned baselines.

    Args:
        num_samples: K hard draws for each example, or a schedule. The decoder also sees the mean.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical.
        ValueError: no closed form for the KL.

    Reference:
        Gu, Levine, Sutskever, Mnih, MuProp, 2015, arXiv 1511.05176, section 3.
    """

    num_samples: int | Schedule = 2

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        posterior = model.posterior(x)
        factors = factors_of(posterior, "MuProp", instead=_REMEDY)
        samples = score(model, x, posterior.sample((fixed_samples(self.num_samples),)), posterior)
        bound = samples.log_likelihood.mean(0) - penalty(self.bound, samples)
        if torch.is_grad_enabled():
            leaf = factors.detached()
            mean = leaf.probs
            at_mean = _slope_of(self, possible(_log_likelihood(model, x, mean.unsqueeze(0).to(factors.dtype))))
            (slope,) = torch.autograd.grad(at_mean.sum(), mean, retain_graph=True)
            (through_mean,) = torch.autograd.grad((slope * mean).sum(), leaf.logits)
            beyond = samples.z - mean.detach()
            linear = at_mean.detach() + (slope * beyond).reshape(*samples.z.shape[:2], -1).sum(-1)
            rest = samples.log_likelihood.detach() - linear
            rest = advantage_over_others(rest) if len(rest) > 1 else finite_signal(rest)
            gradient = (_like(rest, samples.z) * leaf.score(samples.z)).mean(0) + through_mean
            bound = factors.push(bound, gradient)
        return Estimate.of(bound, bound_name(self.bound, samples))


class REBAR(Scheduled, nn.Module):
    """The score function less the likelihood at a relaxed z, corrected by its reparameterised gradient.

    Unbiased for the gradient of the ELBO at any temperature of the relaxed z and any strength, the factor by which the
    control variate is multiplied. Both are parameters of the estimator, learned by `control_loss`, the squared length
    of the gradient with respect to the logits: as its mean does not depend on them, that is its variance.

    Args:
        num_samples: K hard draws for each example, or a schedule. For each the decoder also sees two relaxed ones.
        temperature: where the temperature begins, above 0.
        strength: where the control variate's factor begins.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical.
        ValueError: no closed form for the KL.

    Reference:
        Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein, REBAR: Low-variance, Unbiased Gradient Estimates for Discrete
        Latent Variable Models, 2017, arXiv 1703.07370, section 3.
    """

    def __init__(
        self,
        num_samples: int | Schedule = 1,
        temperature: float = 0.5,
        strength: float = 1.0,
        bound: Objective = elbo,
    ) -> None:
        super().__init__()
        _check(self, num_samples, bound)
        self.num_samples = num_samples
        self.bound = bound
        self.temperature = temperature  # where it began; the one in use is exp(log_temperature)
        self.log_temperature, self.strength = _parameters(temperature, strength)

    def in_use(self) -> dict[str, float]:
        """The temperature and the strength as learned so far."""
        return _learned(self)

    def forward(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        """The estimate for a batch x, `[B, *event]`."""
        return _with_control_variate(self, model, x, None)


class RELAX(Scheduled, nn.Module):
    """REBAR with a network added to its control variate, learned with it. Unbiased for the gradient of the ELBO.

    Args:
        network: `[N, latent.num_features + number of pixels]` to `[N, 1]`, of the relaxed z and x side by side, such as
            `rp.mlp(20 + 784, [100], 1)`; differentiable twice, so with smooth activations (`nn.Tanh`), or its
            gradient in z cannot be fitted.
        num_samples: K hard draws for each example, or a schedule. For each the decoder also sees two relaxed ones.
        temperature: where the temperature begins, above 0.
        strength: where the factor of the likelihood in the control variate begins; that of the network is in it.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical; a network that is no module.
        ValueError: no closed form for the KL.

    Reference:
        Grathwohl, Choi, Wu, Roeder, Duvenaud, Backpropagation through the Void, 2017, arXiv 1711.00123, section 3.
    """

    def __init__(
        self,
        network: nn.Module,
        num_samples: int | Schedule = 1,
        temperature: float = 0.5,
        strength: float = 1.0,
        bound: Objective = elbo,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"network is {network!r}; it must be an nn.Module from z and x to one number: rp.mlp(804, [100], 1)."
            )
        _check(self, num_samples, bound)
        self.network = network
        self.num_samples = num_samples
        self.bound = bound
        self.temperature = temperature  # where it began; the one in use is exp(log_temperature)
        self.log_temperature, self.strength = _parameters(temperature, strength)

    def in_use(self) -> dict[str, float]:
        """The temperature and the strength as learned so far."""
        return _learned(self)

    def forward(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        """The estimate for a batch x, `[B, *event]`."""
        return _with_control_variate(self, model, x, self.network)


def _check(estimator: REBAR | RELAX, num_samples: int | Schedule, bound: Objective) -> None:
    check_samples(num_samples)
    check_elbo(bound, type(estimator).__name__)


def _parameters(temperature: float, strength: float) -> tuple[nn.Parameter, nn.Parameter]:
    log_temperature = torch.tensor(positive("temperature", temperature, remedy="0.5 is a usual start.")).log()
    return nn.Parameter(log_temperature), nn.Parameter(torch.tensor(float(number("strength", strength))))


def _learned(estimator: REBAR | RELAX) -> dict[str, float]:
    return {"temperature": estimator.log_temperature.exp().item(), "strength": estimator.strength.item()}


def _with_control_variate(
    estimator: REBAR | RELAX, model: LatentVariableModel, x: Tensor, network: nn.Module | None
) -> Estimate:
    posterior = model.posterior(x)
    factors = factors_of(posterior, type(estimator).__name__, instead=_REMEDY)
    leaf = factors.detached()  # the gradient with respect to the logits is made here, and has a graph of its own
    y = leaf.perturbed(fixed_samples(estimator.num_samples))
    z = leaf.harden(y.detach()).to(factors.dtype)
    samples = score(model, x, z, posterior)
    bound = samples.log_likelihood.mean(0) - penalty(estimator.bound, samples)
    name = bound_name(estimator.bound, samples)
    if not torch.is_grad_enabled():
        return Estimate.of(bound, name)
    temperature = estimator.log_temperature.exp()

    def stand_in(y: Tensor) -> Tensor:
        relaxed = leaf.squash(y, temperature).to(factors.dtype)
        value = estimator.strength * _slope_of(estimator, possible(_log_likelihood(model, x, relaxed)))
        return value if network is None else value + _evaluated(network, relaxed, x)

    free, conditional = stand_in(y), stand_in(leaf.perturbed_given(z))
    (correction,) = torch.autograd.grad((free - conditional).mean(0).sum(), leaf.logits, create_graph=True)
    remainder = finite_signal(samples.log_likelihood.detach()) - conditional
    gradient = (_like(remainder, z) * leaf.score(z).detach()).mean(0) + correction
    control_loss = gradient.square().reshape(len(x), -1).sum(1).mean()
    return Estimate.of(factors.push(bound, gradient), name, control_loss)


def _slope_of(estimator: object, values: Tensor) -> Tensor:
    """`values`, if they can be differentiated in z."""
    if not values.requires_grad:
        raise ValueError(
            f"the likelihood has no gradient in z, which {type(estimator).__name__} takes for its control variate. "
            "Use RLOO, which needs none."
        )
    return values


def _log_likelihood(model: LatentVariableModel, x: Tensor, z: Tensor) -> Tensor:
    return model.likelihood(z).log_prob(x)


def _evaluated(network: nn.Module, z: Tensor, x: Tensor) -> Tensor:
    """The network's number for each relaxed z and its x, `[K, B]`."""
    flat = z.reshape(*z.shape[:2], -1)
    inputs = torch.cat([flat, x.flatten(1).expand(len(z), -1, -1).to(flat.dtype)], -1).flatten(0, 1)
    return one_number_each(network, inputs, "z and x").reshape(z.shape[:2])


def _like(values: Tensor, z: Tensor) -> Tensor:
    return values.reshape(*values.shape, *(1,) * (z.ndim - values.ndim))
