"""A small model to try the laboratory on, from nothing but the package."""

from __future__ import annotations

from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from reparam._checks import choice, whole
from reparam.data import Data, mnist
from reparam.estimators import RLOO, Pathwise
from reparam.families import Bernoulli, Categorical, Family, Gaussian
from reparam.model import VAE
from reparam.networks import mlp
from reparam.training import fit

LATENTS: dict[str, Family] = {"bernoulli": Bernoulli(8), "categorical": Categorical(4, 3), "gaussian": Gaussian(8)}


def embedded_model(
    latent: Literal["bernoulli", "categorical", "gaussian"], *, steps: int = 469, examples: int = 32, seed: int = 1
) -> tuple[VAE, Tensor]:
    """A VAE of MNIST at 7 x 7 pixels, small enough to sum over its latent's states, and a batch of test images.

    Args:
        latent: 8 bits, 4 x 3 symbols or 8 real numbers.
        steps: of training, 128 images each, at most one pass; 0 leaves random weights.
        examples: in the batch.
        seed: of the weights and the training.
    """
    choice("latent", latent, list(LATENTS))
    whole("steps", steps, least=0)
    whole("examples", examples)
    torch.manual_seed(seed)
    family, pixels, data = LATENTS[latent], Bernoulli(49), mnist("grey")
    train, test = (Data(_seven_by_seven(part[:]), "grey") for part in (data.train, data.test))
    encoder, decoder = mlp(49, [100], family.num_params), mlp(family.num_features, [100], 49)
    model = VAE(family, pixels, encoder, decoder)
    if steps:
        estimator = Pathwise() if latent == "gaussian" else RLOO(4)
        fit(model, estimator, islice(train.batches(128, shuffle=True), steps), epochs=1)
    return model, test[:examples]


def _seven_by_seven(images: Tensor) -> Tensor:
    """Means over squares of 4 x 4 pixels."""
    return images.reshape(-1, 7, 4, 7, 4).mean((2, 4)).flatten(1)
