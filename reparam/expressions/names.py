"""The names that a text may hold. There are no others: what is not in these tables cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reparam import bounds, estimators, families, hierarchy, networks, priors, schedules
from reparam.model import VAE


def zeros(*sizes: int) -> Tensor:
    """Where a tensor begins that a checkpoint fills: `VampPrior(latent, encoder, zeros(500, 784))`."""
    return torch.zeros(sizes)


def tensor(values: Any) -> Tensor:
    """Numbers that stay as they are: `TorchFamily(Binomial, 3, total_count=tensor([2, 5, 9]))`."""
    return torch.tensor(values)


def _numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    def of_numbers(*values: object) -> Any:
        if not values or not all(isinstance(value, int | float) for value in values):
            raise TypeError(f"{function.__name__} is of numbers")
        return function(*values)

    return of_numbers


def _round(*values: object) -> Any:
    if len(values) != 1:  # a second number may ask for 10 to the power of it
        raise TypeError("round is of one number")
    return _numbers(round)(*values)


_ACTIVATIONS = (
    *(nn.ReLU, nn.Tanh, nn.ELU, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.Softplus, nn.Sigmoid, nn.Hardtanh, nn.CELU, nn.SELU),
    *(nn.Mish, nn.ReLU6, nn.Softsign, nn.LogSigmoid, nn.Identity),
)
_LAYERS = (
    *(nn.Sequential, nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Flatten, nn.Unflatten),
    *(nn.Upsample, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.PixelShuffle, nn.ZeroPad2d, nn.GLU, nn.PReLU),
    *(nn.Softmax, nn.Dropout, nn.Dropout2d, nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d),
)
FAMILIES = (
    *(families.Bernoulli, families.Beta, families.Binomial, families.Categorical, families.ContinuousBernoulli),
    *(families.Dirichlet, families.DiscretizedLogistic, families.Flow, families.Gamma, families.Gaussian),
    *(families.Kumaraswamy, families.Laplace, families.Logistic, families.LogisticNormal, families.LogNormal),
    *(families.NegativeBinomial, families.Ordinal, families.Poisson, families.PowerSpherical),
    *(families.QuantizedCategorical, families.SharedScaleGaussian, families.StudentT, families.TorchFamily),
    *(families.VonMises, families.ZeroInflatedNegativeBinomial, hierarchy.Joint),
)
_MODELS = (
    *(VAE, hierarchy.Hierarchy, hierarchy.Ladder),
    *(priors.LearnedPrior, priors.MixturePrior, priors.VampPrior, priors.AutoregressivePrior),
    *(networks.mlp, networks.gated_mlp, networks.conv_encoder, networks.conv_decoder, networks.masked_mlp),
    networks.Log1p,
)
ESTIMATORS = (
    *(estimators.ARM, estimators.DisARM, estimators.DisARMTree, estimators.Enumerate, estimators.GumbelRao),
    *(estimators.LocalExpectation, estimators.MuProp, estimators.NVIL, estimators.Pathwise, estimators.REBAR),
    *(estimators.REINFORCE, estimators.RELAX, estimators.RLOO, estimators.RWS, estimators.ReinMax, estimators.Relaxed),
    *(estimators.Stages, estimators.StraightThrough, estimators.TVO, estimators.UnorderedSet, estimators.VIMCO),
    estimators.WakeSleep,
)
SCHEDULES = (schedules.exponential, schedules.linear, schedules.geometric, schedules.cosine)
_OBJECTIVES = (bounds.renyi, bounds.tvo, bounds.beta_elbo, bounds.free_bits)


def _by_name(*things: Any) -> dict[str, Any]:
    return {thing.__name__: thing for thing in things}


# what may be called; arguments are the business of what is called
CALLED = {
    **_by_name(*FAMILIES, *_MODELS, *ESTIMATORS, *SCHEDULES, *_OBJECTIVES, *_ACTIVATIONS, *_LAYERS, zeros, tensor),
    "min": _numbers(min),
    "max": _numbers(max),
    "round": _round,
}
# what may stand without a call
GIVEN = _by_name(bounds.elbo, bounds.iwae, *_ACTIVATIONS)
# what may be the first argument of TorchFamily, and nothing else: some have the name of a family
DISTRIBUTIONS = {
    name: getattr(torch.distributions, name)
    for name in torch.distributions.__all__
    if isinstance(getattr(torch.distributions, name), type)
}
