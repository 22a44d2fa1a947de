"""Draws: the one place that samples and scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from reparam._checks import single_tensor, whole
from reparam._tensors import memo, unwrap
from reparam.distributions import closed_kl
from reparam.hierarchy.chain import Chain, pairs_of_parts, same_layout
from reparam.hierarchy.composite import Composite
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

    @memo
    def kl_by_layer(self) -> Float[Tensor, "B L"]:
        """Without a closed form: the mean of log q(z|x) - log p(z) over the samples, by part of a chain."""
        q, p = self.posterior, self.prior
        if isinstance(q, Chain) and isinstance(p, Chain) and same_layout(q, p):
            log_q, log_p = q.log_prob_by_part(self.z), p.log_prob_by_part(self.z)
            return torch.stack([(log_q[name] - log_p[name]).mean(0) for name in q.families], 1)
        return (self.log_posterior - self.log_prior).mean(0).unsqueeze(1)

    def _checked(self, term: str, log_prob: Tensor) -> Tensor:
        expected = (self.z.shape[0], self.x.shape[0])
        if log_prob.shape != expected:
            raise ValueError(
                f"log_prob of the {term} has shape {tuple(log_prob.shape)}; one number per sample and example is "
                f"{expected}. Wrap a per-element distribution in torch.distributions.Independent."
            )
        return log_prob


def _kl_columns(q: Distribution, p: Distribution) -> Float[Tensor, "B D"]:
    if isinstance(q, Chain) and isinstance(p, Chain):
        return torch.cat([_kl_columns(*pair) for pair in pairs_of_parts(q, p).values()], 1)
    (q_base, num_axes), (p_base, num_prior_axes) = unwrap(q), unwrap(p)
    if num_axes == 0 or num_axes != num_prior_axes:
        return closed_kl(q, p).unsqueeze(-1)
    return closed_kl(q_base, p_base).flatten(1)


def closed_form_kl(posterior: Distribution, prior: Distribution, batch_size: int) -> Float[Tensor, "B"]:
    """KL(q(z|x) || p(z)), one number for each example.

    Raises:
        NotImplementedError: no closed form is registered for this pair.
        ValueError: the KL is not of shape `[B]`: a per-element distribution that is not wrapped in `Independent`.
    """
    kl = closed_kl(posterior, prior)
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
        TypeError: x is not a tensor, such as a tuple (x, y).
        ValueError: `reparameterized` with a posterior that has no `rsample`.
    """
    whole("num_samples", num_samples)
    single_tensor(x)
    posterior = model.posterior(x)
    if reparameterized and not posterior.has_rsample:
        raise ValueError(
            f"the posterior {_named(posterior)} has no rsample: no gradient passes its draws. "
            "Use RLOO for any latent, Relaxed for Bernoulli and Categorical, or Enumerate for a small one."
        )
    z = posterior.rsample((num_samples,)) if reparameterized else posterior.sample((num_samples,))
    return score(model, x, z, posterior)


def _named(distribution: Distribution) -> str:
    """A distribution's class, or those of its parts."""
    base = unwrap(distribution)[0]
    if isinstance(base, Composite):
        return f"of the parts {', '.join(f'{name} ({family})' for name, family in base.families.items())}"
    return type(base).__name__


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
