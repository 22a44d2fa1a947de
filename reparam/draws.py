"""Draws: the one place that samples and scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, kl_divergence
from torch.distributions import OneHotCategorical as TorchOneHotCategorical

from reparam._checks import whole
from reparam._tensors import independent, memo, unwrap
from reparam.distributions import Bernoulli, OneHotCategorical
from reparam.hierarchy.chain import Chain, pairs_of_parts
from reparam.model import LatentVariableModel


@dataclass(frozen=True, eq=False)
class Draw:
    """Latents with what scores them. Every score is in nats, `[K, B]`, and computed when it is first asked for.

    Attributes:
        x: the data, `[B, *event]`.
        z: the latents, `[K, B, *latent]`.
        prior, posterior, likelihood: the distributions p(z), q(z|x), p(x|z).
    """

    x: Tensor
    z: Tensor
    prior: Distribution
    posterior: Distribution
    likelihood: Distribution

    @memo
    def log_prior(self) -> Float[Tensor, "K B"]:
        """log p(z)."""
        return self._checked("prior", self.prior.log_prob(self.z))

    @memo
    def log_likelihood(self) -> Float[Tensor, "K B"]:
        """log p(x|z)."""
        return self._checked("likelihood", self.likelihood.log_prob(self.x))

    @memo
    def log_posterior(self) -> Float[Tensor, "K B"]:
        """log q(z|x)."""
        return self._checked("posterior", self.posterior.log_prob(self.z))

    @property
    def log_weight(self) -> Float[Tensor, "K B"]:
        """log p(x, z) - log q(z|x)."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    @memo
    def kl(self) -> Float[Tensor, "B"]:
        """KL(q(z|x) || p(z)) in closed form.

        Raises:
            NotImplementedError: no closed form is registered for this pair.
        """
        return closed_form_kl(self.posterior, self.prior, len(self.x))

    @memo
    def kl_by_variable(self) -> Float[Tensor, "B D"]:
        """The same by independent variable of the latent; one column where the latent is not made of such.

        Raises:
            NotImplementedError: no closed form is registered for this pair.
        """
        columns = _kl_columns(self.posterior, self.prior)
        return columns if columns.shape[1] > 1 else self.kl.unsqueeze(1)

    def _checked(self, term: str, log_prob: Tensor) -> Tensor:
        expected = (self.z.shape[0], self.x.shape[0])
        if log_prob.shape != expected:
            raise ValueError(
                f"log_prob of the {term} has shape {tuple(log_prob.shape)}; one number per sample and example is "
                f"{expected}. Wrap a per-element distribution in torch.distributions.Independent."
            )
        return log_prob


def ours(distribution: Distribution) -> Distribution:
    """torch's Bernoulli and one-hot Categorical as this library's, whose KL broadcasts and stays finite."""
    base, num_axes = unwrap(distribution)
    if isinstance(base, TorchBernoulli):
        return independent(Bernoulli(base.logits, validate_args=False), num_axes)
    if isinstance(base, TorchOneHotCategorical):
        return independent(OneHotCategorical(base.logits, validate_args=False), num_axes)
    return distribution


def _kl_columns(q: Distribution, p: Distribution) -> Float[Tensor, "B D"]:
    q, p = ours(q), ours(p)
    if isinstance(q, Chain) and isinstance(p, Chain):
        return torch.cat([_kl_columns(*pair) for pair in pairs_of_parts(q, p).values()], 1)
    (q_base, num_axes), (p_base, num_prior_axes) = unwrap(q), unwrap(p)
    if num_axes == 0 or num_axes != num_prior_axes:
        return kl_divergence(q, p).unsqueeze(-1)
    return kl_divergence(q_base, p_base).flatten(1)


def closed_form_kl(posterior: Distribution, prior: Distribution, batch_size: int) -> Float[Tensor, "B"]:
    """KL(q(z|x) || p(z)), one number for each example.

    Raises:
        NotImplementedError: no closed form is registered for this pair.
        ValueError: the KL is not of shape `[B]`: a per-element distribution that is not wrapped in `Independent`.
    """
    kl = kl_divergence(ours(posterior), ours(prior))
    if kl.shape != (batch_size,):
        raise ValueError(
            f"KL(q || p) has shape {tuple(kl.shape)}; one number per example is ({batch_size},). "
            "Wrap per-element priors and posteriors in torch.distributions.Independent."
        )
    return kl


def draw(model: LatentVariableModel, x: Tensor, num_samples: int = 1, *, reparameterized: bool = False) -> Draw:
    """`num_samples` latents from q(z|x) for each example, ready to be scored.

    Args:
        model: with `prior`, `posterior` and `likelihood`.
        x: data, `[B, *event]`.
        num_samples: K, at least 1.
        reparameterized: use `rsample`, so that gradients reach the posterior through z.

    Raises:
        ValueError: `reparameterized` with a posterior that has no `rsample`.
    """
    whole("num_samples", num_samples)
    posterior = model.posterior(x)
    if reparameterized and not posterior.has_rsample:
        raise ValueError(
            f"the posterior {type(unwrap(posterior)[0]).__name__} has no rsample: no gradient passes its draws. "
            "Use RLOO for any latent, Relaxed for Bernoulli and Categorical, or Enumerate for a small one."
        )
    z = posterior.rsample((num_samples,)) if reparameterized else posterior.sample((num_samples,))
    return score(model, x, z, posterior)


def score(model: LatentVariableModel, x: Tensor, z: Tensor, posterior: Distribution) -> Draw:
    """Given latents `[K, B, *latent]`, ready to be scored; `posterior` is `model.posterior(x)`, computed once."""
    likelihood = model.likelihood(z)
    check_event(x, likelihood)
    return Draw(x, z, model.prior(), posterior, likelihood)


def check_event(x: Tensor, likelihood: Distribution) -> None:
    """Refuses x of another shape than the likelihood's draws, which would be broadcast."""
    event_shape = likelihood.event_shape
    if x.shape[1:] != event_shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, and one draw of the likelihood {tuple(event_shape)}; x must be "
            f"{('batch', *event_shape)}. Reshape x, or wrap a per-element likelihood in "
            "torch.distributions.Independent."
        )
