"""Models of several layers with random weights, small enough to enumerate where they are discrete."""

import torch
from torch import nn

import reparam as rp


def randomise(model, scale=0.9):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale)
    return model


def belief_network(num_pixels=6, sizes=(4, 4), scale=0.9):
    """The 4-4 sigmoid belief network, with random weights."""
    first, second = sizes
    return randomise(
        rp.Hierarchy(
            [rp.Bernoulli(first), rp.Bernoulli(second)],
            rp.Bernoulli(num_pixels),
            encoders=[nn.Linear(num_pixels, first), nn.Linear(first, second)],
            decoders=[nn.Linear(first, num_pixels), nn.Linear(second, first)],
        ),
        scale,
    )


def symbols_over_bits(num_pixels=6):
    """Two symbols of three under three bits: layers of different families."""
    return randomise(
        rp.Hierarchy(
            [rp.Categorical(2, 3), rp.Bernoulli(3)],
            rp.Bernoulli(num_pixels),
            encoders=[nn.Linear(num_pixels, 6), nn.Linear(6, 3)],
            decoders=[nn.Linear(6, num_pixels), nn.Linear(3, 6)],
        )
    )


def ladder(latents, num_pixels=6, scale=0.5):
    sizes = [family.num_features for family in latents]
    return randomise(
        rp.Ladder(
            latents,
            rp.Bernoulli(num_pixels),
            encoders=[rp.mlp(num_pixels, [], 5), *(rp.mlp(5, [], 5) for _ in latents[1:])],
            corrections=[nn.Linear(5, family.num_params) for family in latents],
            decoders=[
                nn.Linear(size, below)
                for size, below in zip(sizes, [num_pixels, *(f.num_params for f in latents)], strict=False)
            ],
        ),
        scale,
    )


def gaussian_hierarchy(num_pixels=6):
    latents = [rp.Gaussian(3), rp.Gaussian(2)]
    return randomise(
        rp.Hierarchy(
            latents,
            rp.Bernoulli(num_pixels),
            encoders=[nn.Linear(num_pixels, 6), nn.Linear(3, 4)],
            decoders=[nn.Linear(3, num_pixels), nn.Linear(2, 6)],
        ),
        0.5,
    )


MODELS = [
    belief_network,
    symbols_over_bits,
    gaussian_hierarchy,
    lambda: ladder([rp.Gaussian(3), rp.Gaussian(2), rp.Gaussian(2)]),
    lambda: ladder([rp.Bernoulli(3), rp.Categorical(1, 3)]),
]
IDS = ["belief network", "symbols over bits", "gaussian", "gaussian ladder", "discrete ladder"]
