"""Mixtures of logistic distributions on the levels of a pixel."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from reparam._checks import whole
from reparam._tensors import at_least_float32
from reparam.distributions.levels import Levels, OnLevels
from reparam.distributions.log_masses import log1mexp, logistic_bin_log_probs
from reparam.distributions.noise import gumbel, logistic


class DiscretizedLogisticMixture(OnLevels):
    """A mixture of M logistics rounded to the levels `0, 1/(L - 1), ..., 1`; the end levels take the tails.

    A level x has under one component the probability `sigmoid(b) - sigmoid(a)`, where a and b are the edges
    `(x -+ 1 / (2 (L - 1)) - loc) / scale` of its bin, except that a is -inf at x = 0 and b is inf at x = 1. Its
    logarithm is `log sigmoid(b) + log sigmoid(-a) + log(1 - e^(a - b))`, finite at any scale; no density stands in for
    it. A number that is no level scores `-inf`.

    Args:
        logits: unnormalised log-weights of the components `[..., M]`; M = 1 is the plain discretised logistic.
        loc: centres `[..., M]`, in the unit of x.
        scale: above 0, `[..., M]`, in the unit of x.
        num_levels: L, at least 2; 256 for bytes divided by 255.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: fewer than two levels.

    Reference:
        Salimans, Karpathy, Chen, Kingma, PixelCNN++, 2017, arXiv 1701.05517; Kingma, Salimans, Jozefowicz, Chen,
        Sutskever, Welling, Improving Variational Inference with Inverse Autoregressive Flow, 2016, arXiv 1606.04934.

    Example:
        >>> one = torch.ones(1)
        >>> grey = DiscretizedLogisticMixture(one, 0.5 * one, 0.1 * one, num_levels=3, validate_args=False)
        >>> grey.log_prob(torch.tensor([0.0, 0.5, 1.0])).exp()
        tensor([0.0759, 0.8483, 0.0759])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, *, num_levels: int = 256, validate_args: bool | None = None
    ) -> None:
        self.logits, self.loc, self.scale = torch.broadcast_tensors(logits, loc, scale)
        self.num_levels = whole("num_levels", num_levels, least=2)
        self.step = 1 / (self.num_levels - 1)
        self.dtype = self.loc.dtype
        super().__init__(self.logits.shape[:-1], validate_args=validate_args)

    def levels(self) -> Levels:
        loc, scale = at_least_float32(self.loc), at_least_float32(self.scale)
        edges = (torch.arange(1, self.num_levels, dtype=loc.dtype, device=loc.device) - 0.5) / (self.num_levels - 1)
        log_weights = at_least_float32(self.logits).log_softmax(-1).unsqueeze(-1)
        log_probs = (log_weights + logistic_bin_log_probs(loc, scale, edges)).logsumexp(-2)
        return Levels(log_probs, step=self.step, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretizedLogisticMixture:
        shape = (*batch_shape, self.logits.shape[-1])
        parts = (part.expand(shape) for part in (self.logits, self.loc, self.scale))
        return DiscretizedLogisticMixture(*parts, num_levels=self.num_levels, validate_args=self._validate_args)

    def _draw(self, shape: torch.Size) -> Tensor:
        each = (*shape, self.logits.shape[-1])
        logits, loc, scale = (part.expand(each) for part in (self.logits, self.loc, self.scale))
        chosen = (logits + gumbel(logits)).argmax(-1, keepdim=True)
        loc, scale = (at_least_float32(part.gather(-1, chosen).squeeze(-1)) for part in (loc, scale))
        return ((loc + scale * logistic(loc)) * (self.num_levels - 1)).round().clamp(0, self.num_levels - 1)

    def _log_mass(self, index: Tensor) -> Tensor:
        loc, scale = at_least_float32(self.loc), at_least_float32(self.scale)
        index = index.unsqueeze(-1).to(loc.dtype)
        first, last = index == 0, index == self.num_levels - 1
        # an edge is the same number for both its neighbours, so that the levels sum to one at the least scale too
        low, high = ((index + side) / (self.num_levels - 1) for side in (-0.5, 0.5))
        log_mass = torch.where(last, 0.0, F.logsigmoid((high - loc) / scale))
        log_mass = log_mass + torch.where(first, 0.0, F.logsigmoid((loc - low) / scale))
        log_mass = log_mass + torch.where(first | last, 0.0, log1mexp(1 / (self.num_levels - 1) / scale))
        return (at_least_float32(self.logits).log_softmax(-1) + log_mass).logsumexp(-1)
