"""The independent discrete variables of a latent: what estimators that work on logits need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, OneHotCategorical

from reparam import distributions
from reparam._tensors import at_least_float32, normalized, unwrap
from reparam.distributions.noise import conditional_gumbel, conditional_logistic, gumbel, logistic
from reparam.relaxation import is_relaxed


@dataclass(frozen=True, eq=False)
class Factors:
    """Independent coins, or independent one-hot variables.

    Attributes:
        logits: `[B, *D]` log-odds of coins, or `[B, *D, C]` log-probabilities of one-hot variables, normalised.
        binary: which of the two.
        dtype: of z. Logits and noise are in at least float32.
    """

    logits: Tensor
    binary: bool
    dtype: torch.dtype = torch.float32

    def constant(self) -> Factors:
        """The same without a gradient."""
        return replace(self, logits=self.logits.detach())

    def detached(self) -> Factors:
        """The same with logits that begin a graph of their own."""
        return replace(self, logits=self.logits.detach().requires_grad_(torch.is_grad_enabled()))

    @property
    def probs(self) -> Tensor:
        """The mean of z."""
        return self.tempered(1.0)

    def tempered(self, temperature: float | Tensor) -> Tensor:
        """The mean of z at logits divided by a temperature."""
        return self.squash(self.logits, temperature)

    def perturbed(self, num_samples: int) -> Tensor:
        """`logits + noise`, `[K, B, ...]`, whose `harden` is a draw of z: the noise is logistic or Gumbel."""
        logits = self.logits.expand(num_samples, *self.logits.shape)
        return logits + (logistic(logits) if self.binary else gumbel(logits))

    def perturbed_given(self, z: Tensor) -> Tensor:
        """`logits + noise` given that its `harden` is z."""
        return conditional_logistic(self.logits, z) if self.binary else conditional_gumbel(self.logits, z)

    def harden(self, y: Tensor) -> Tensor:
        """The discrete value of perturbed logits."""
        if self.binary:
            return (y > 0).to(y.dtype)
        return torch.zeros_like(y).scatter(-1, y.argmax(-1, keepdim=True), 1.0)

    def squash(self, y: Tensor, temperature: float | Tensor) -> Tensor:
        """The relaxed value of perturbed logits."""
        return (y / temperature).sigmoid() if self.binary else (y / temperature).softmax(-1)

    def score(self, z: Tensor) -> Tensor:
        """The gradient of log q(z) with respect to the logits."""
        return z - self.probs

    def state_log_probs(self) -> Tensor:
        """Log-probabilities of each variable's states, `[B, D, C]`; a coin has 0 and 1 for states.

        To all digits even where a state is nearly certain.
        """
        logits = self.logits
        if self.binary:
            return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], -1).reshape(len(logits), -1, 2)
        top = logits.amax(-1, keepdim=True)
        others = (logits - top).exp().scatter(-1, logits.argmax(-1, keepdim=True), 0.0).sum(-1, keepdim=True)
        return (logits - top - others.log1p()).reshape(len(logits), -1, logits.shape[-1])

    def from_states(self, index: Tensor) -> Tensor:
        """Latents `[..., B, *event]` from indices of states `[..., B, D]`."""
        event = self.logits.shape[1:]
        values = index if self.binary else F.one_hot(index, event[-1])
        return values.to(self.dtype).reshape(*index.shape[:-1], *event)

    def push(self, bound: Tensor, gradient: Tensor) -> Tensor:
        """`bound`, whose gradient with respect to the logits is `gradient`, `[B, *D]`."""
        pushed = (gradient.detach() * self.logits).reshape(len(self.logits), -1).sum(1)
        return bound + (pushed - pushed.detach())


def factors_of(posterior: Distribution, estimator: str, *, instead: str, binary: bool | None = None) -> Factors:
    """The discrete variables of a posterior.

    Args:
        posterior: `Independent` coins or one-hot variables, of this library or of torch.
        estimator: its name, for the message.
        instead: what to use where it does not fit.
        binary: coins alone, or one-hot variables alone.

    Raises:
        TypeError: another kind of latent.
    """
    base, _ = unwrap(posterior)
    coins = isinstance(base, distributions.Bernoulli | Bernoulli)
    one_hot = isinstance(base, distributions.OneHotCategorical | OneHotCategorical)
    if not (coins or one_hot) or binary not in (None, coins):
        takes = {None: "Bernoulli and one-hot Categorical latents", True: "Bernoulli", False: "one-hot Categorical"}
        what = "a relaxed distribution" if is_relaxed(posterior) else type(base).__name__
        raise TypeError(f"the latent is {what}; {estimator} takes {takes[binary]}. {instead}")
    given: Any = base  # torch's two and ours have no common type
    logits = at_least_float32(given.logits)
    logits = logits if coins else normalized(logits)
    # a state that is ruled out, by -inf, has probability e^-10000 instead, which is 0 and has no NaN in its gradient
    return Factors(logits.clamp(-1e4, 1e4), coins, given.logits.dtype)
