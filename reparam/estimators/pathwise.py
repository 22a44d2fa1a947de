"""The reparameterised gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from reparam._checks import choice, whole
from reparam.bounds import Bound, Draw, draw, elbo
from reparam.estimators.estimate import Estimate, bound_name, check_bound, name_of, weighed
from reparam.model import LatentVariableModel


@dataclass(frozen=True)
class Pathwise:
    """The gradient through a reparameterised sample; unbiased for the gradient of its bound.

    Args:
        num_samples: K draws of z for each example.
        bound: `elbo`, `iwae`, or any function `[K, B] -> [B]` of log-weights.
        kl: "analytic" takes KL(q || p) in closed form and samples the likelihood only; "sampled" scores samples;
            "auto" is analytic where the bound is the ELBO and the closed form is known, and sampled elsewhere.

    Raises:
        ValueError: an analytic KL with another bound than the ELBO; a latent without `rsample`; no closed form for
            the KL.

    Reference:
        Kingma, Welling, Auto-Encoding Variational Bayes, 2013, arXiv 1312.6114, equations 6 and 7.

    Example:
        >>> import torch
        >>> from reparam import Gaussian, VAE, iwae, mlp
        >>> model = VAE(Gaussian(2), Gaussian(3), mlp(3, [8], 4), mlp(2, [8], 6))
        >>> Pathwise(num_samples=5, bound=iwae)(model, torch.zeros(7, 3)).name
        'iwae_5'
    """

    num_samples: int = 1
    bound: Bound = elbo
    kl: Literal["auto", "analytic", "sampled"] = "auto"

    def __post_init__(self) -> None:
        whole("num_samples", self.num_samples)
        check_bound(self.bound)
        choice("kl", self.kl, ("auto", "analytic", "sampled"))
        if self.kl == "analytic" and self.bound is not elbo:
            raise ValueError(
                f'kl="analytic" with the bound {name_of(self.bound)}: only the ELBO splits into likelihood and KL; '
                'another bound needs the weight of each sample. Use kl="sampled", or bound=elbo.'
            )

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        samples = draw(model, x, self.num_samples, reparameterized=True)
        if self.bound is elbo and self.kl != "sampled":
            kl = self._closed_form_kl(samples)
            if kl is not None:
                return Estimate.of(samples.log_likelihood.mean(0) - kl, bound_name(elbo, samples))
        return Estimate.of(weighed(self.bound, samples), bound_name(self.bound, samples))

    def at(self, step: int) -> Pathwise:
        return self

    def _closed_form_kl(self, samples: Draw) -> Tensor | None:
        try:
            return samples.kl
        except NotImplementedError as error:
            if self.kl == "auto":
                return None
            raise ValueError(f'kl="analytic", but {error} Use kl="sampled".') from error
