"""torch's distributions as this library's."""

from __future__ import annotations

from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution
from torch.distributions import OneHotCategorical as TorchOneHotCategorical

from reparam._tensors import independent, unwrap
from reparam.distributions.bernoulli import Bernoulli
from reparam.distributions.one_hot_categorical import OneHotCategorical
from reparam.distributions.rounded import Rounded


def ours(distribution: Distribution) -> Distribution:
    """The distribution to take a KL of.

    torch's Bernoulli and one-hot Categorical become this library's, whose KL broadcasts and stays finite. Of draws
    rounded to 16 bits the distribution before rounding is taken.
    """
    base, num_axes = unwrap(distribution)
    if isinstance(distribution, Rounded):
        distribution = independent(base, num_axes)
    if isinstance(base, TorchBernoulli):
        return independent(Bernoulli(base.logits, validate_args=False), num_axes)
    if isinstance(base, TorchOneHotCategorical):
        return independent(OneHotCategorical(base.logits, validate_args=False), num_axes)
    return distribution
