"""The reparameterised gradient, and its variants of lower variance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from reparam._checks import choice
from reparam._tensors import possible, shares
from reparam.bounds import PenalisedBound, elbo, iwae
from reparam.draws import Draw, draw
from reparam.estimators.estimate import (
    Estimate,
    Objective,
    Scheduled,
    bound_name,
    check_bound,
    check_samples,
    fixed_samples,
    name_of,
    penalty,
    weighed,
)
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule
from reparam.surrogates import with_gradient_of


@dataclass(frozen=True, repr=False)
class Pathwise(Scheduled):
    """The gradient through a reparameterised sample; unbiased for the gradient of its bound.

    Where torch has implicit reparameterisation (Gamma, Beta, Dirichlet, StudentT, VonMises has none), this is it.

    Args:
        num_samples: K draws of z for each example, or a schedule.
        bound: `elbo`, `iwae`, `renyi(...)`, `tvo(...)` or any function `[K, B] -> [B]` of log-weights; or the penalised
            `beta_elbo(...)` and `free_bits(...)`.
        kl: "analytic" takes KL(q || p) in closed form and samples the likelihood only; "sampled" scores samples;
            "auto" is analytic where the bound is the ELBO or a penalised one and the closed form is known, and sampled
            elsewhere: of a chain of layers layer by layer, which is what `free_bits` then counts.
        gradient: "total" differentiates the value. Both others leave out terms whose expectation is zero: "stl"
            (sticking the landing, for the ELBO) the gradient of log q through its parameters, so that the variance
            vanishes where q is the true posterior; "dreg" (doubly reparameterised, for iwae) also reparameterises the
            score term that remains there, so that the encoder's gradient gets better, not worse, with K.
            Both score z a second time: a layer above the first of a `Hierarchy` with dropout would be another network
            then, so use "total" there.

    Raises:
        ValueError: an analytic KL with another bound than the ELBO, or with another gradient than "total"; "stl"
            elsewhere than with the ELBO, "dreg" elsewhere than with iwae; a latent without `rsample`; no closed form
            for the KL.

    Reference:
        Kingma, Welling, Auto-Encoding Variational Bayes, 2013, arXiv 1312.6114, equations 6 and 7 ("total"); Roeder,
        Wu, Duvenaud, Sticking the Landing, 2017, arXiv 1703.09194 ("stl"); Tucker, Lawson, Gu, Maddison, Doubly
        Reparameterized Gradient Estimators for Monte Carlo Objectives, 2018, arXiv 1810.04152 ("dreg"); Figurnov,
        Mohamed, Mnih, Implicit Reparameterization Gradients, 2018, arXiv 1805.08498.

    Example:
        >>> import torch
        >>> from reparam import Gaussian, VAE, iwae, mlp
        >>> model = VAE(Gaussian(2), Gaussian(3), mlp(3, [8], 4), mlp(2, [8], 6))
        >>> Pathwise(num_samples=5, bound=iwae, gradient="dreg")(model, torch.zeros(7, 3)).name
        'iwae_5'
    """

    num_samples: int | Schedule = 1
    bound: Objective = elbo
    kl: Literal["auto", "analytic", "sampled"] = "auto"
    gradient: Literal["total", "stl", "dreg"] = "total"

    def __post_init__(self) -> None:
        check_samples(self.num_samples)
        check_bound(self.bound)
        choice("kl", self.kl, ("auto", "analytic", "sampled"))
        choice("gradient", self.gradient, ("total", "stl", "dreg"))
        name = name_of(self.bound)
        if self.kl == "analytic" and self.bound is not elbo and not isinstance(self.bound, PenalisedBound):
            raise ValueError(
                f'kl="analytic" with the bound {name}: only the ELBO splits into likelihood and KL; '
                'another bound needs the weight of each sample. Use kl="sampled", or bound=elbo.'
            )
        if self.kl == "sampled" and isinstance(self.bound, PenalisedBound):
            raise ValueError(f'kl="sampled" with {name}, which is defined by the KL in closed form. Use kl="auto".')
        if self.gradient == "stl" and self.bound is not elbo:
            raise ValueError(
                f'gradient="stl" with the bound {name}: the term it leaves out has expectation zero for the ELBO only. '
                'Use gradient="dreg" with iwae, or "total".'
            )
        if self.gradient == "dreg" and self.bound is not iwae:
            raise ValueError(
                f'gradient="dreg" with the bound {name}; it is derived for iwae. Use bound=rp.iwae, or gradient="stl" '
                "with the ELBO."
            )
        if self.gradient != "total" and self.kl == "analytic":
            raise ValueError(
                f'kl="analytic" with gradient="{self.gradient}", which acts on log q of each sample. Use kl="auto".'
            )

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        samples = draw(model, x, fixed_samples(self.num_samples), reparameterized=True)
        if isinstance(self.bound, PenalisedBound):
            bound = samples.log_likelihood.mean(0) - self._penalty(self.bound, samples)
            return Estimate.of(bound, bound_name(self.bound, samples))
        if self.gradient != "total":
            return Estimate.of(self._without_score(samples), bound_name(self.bound, samples))
        if self.bound is elbo and self.kl != "sampled":
            kl = self._closed_form_kl(samples)
            if kl is not None:
                return Estimate.of(samples.log_likelihood.mean(0) - kl, bound_name(elbo, samples))
        return Estimate.of(weighed(self.bound, samples), bound_name(self.bound, samples))

    def _without_score(self, samples: Draw) -> Tensor:
        """The bound, with a gradient that reaches the posterior through z alone."""
        z = samples.z
        score = samples.posterior.log_prob(z.detach())  # the same log q, but of z as a constant
        if self.gradient == "dreg":  # log q has to be a function of z, and a flow's own draw is one of its noise
            samples = replace(samples, z=z.view_as(z))
        log_weight = samples.log_weight + (score - score.detach())
        if self.gradient == "stl":
            return with_gradient_of(weighed(elbo, samples), possible(log_weight).mean(0))
        share = shares(log_weight)
        if z.requires_grad:  # the generative parameters get each sample's share, the posterior its square
            widened = share.reshape(*share.shape, *(1,) * (z.ndim - share.ndim))
            z.register_hook(lambda gradient: gradient * widened.to(gradient.dtype))
        return with_gradient_of(weighed(iwae, samples), (share * possible(log_weight)).sum(0))

    def _penalty(self, bound: PenalisedBound, samples: Draw) -> Tensor:
        """What the KL costs; without a closed form by the layers of a chain, from the samples."""
        if self.kl == "analytic" or self._closed_form_kl(samples) is not None:
            return penalty(bound, samples)
        return bound.penalty(samples.kl_by_layer)

    def _closed_form_kl(self, samples: Draw) -> Tensor | None:
        try:
            return samples.kl
        except NotImplementedError as error:
            if self.kl == "auto":
                return None
            raise ValueError(f'kl="analytic", but {error} Use kl="sampled".') from error
