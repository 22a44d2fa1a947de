"""IWAEs of one and of two stochastic layers at equal epochs, dynamic MNIST, 20 epochs, seeds 1 to 3.

    python reproductions/two_layers.py    # a run that is there is not repeated; results in two_layers.json

The networks are those of Burda et al. 2015 (arXiv 1509.00519): 784-200-200-50, and 784-200-200-100-100-100-50, tanh.
"""

from pathlib import Path
from typing import Any

from runs import begin, bounds, run_missing, trained
from torch import nn

import reparam as rp

EPOCHS = 20


def one_layer(data: rp.Data) -> rp.VAE:
    """784-200-200-50."""
    latent, pixels = rp.Gaussian(50), rp.Bernoulli(784)
    return rp.VAE(
        latent,
        pixels,
        rp.mlp(784, [200, 200], latent.num_params, nn.Tanh),
        rp.mlp(50, [200, 200], 784, nn.Tanh, output_bias=data.mean_logits()),
    )


def two_layers(data: rp.Data) -> rp.Hierarchy:
    """784-200-200-100-100-100-50."""
    z1, z2, pixels = rp.Gaussian(100), rp.Gaussian(50), rp.Bernoulli(784)
    return rp.Hierarchy(
        [z1, z2],
        pixels,
        encoders=[
            rp.mlp(784, [200, 200], z1.num_params, nn.Tanh),
            rp.mlp(100, [100, 100], z2.num_params, nn.Tanh),
        ],
        decoders=[
            rp.mlp(100, [200, 200], 784, nn.Tanh, output_bias=data.mean_logits()),
            rp.mlp(50, [100, 100], z1.num_params, nn.Tanh),
        ],
    )


MODELS = {"one layer": one_layer, "two layers": two_layers}


def train(name: str, seed: int) -> dict[str, Any]:
    """One training with IWAE of 5 samples, batch 100, Adam with a cosine schedule from 1e-3; bounds on the test set."""
    begin(seed)
    data = rp.mnist("dynamic")
    model = MODELS[name](data.train)
    lr = rp.cosine(1e-3, 600 * EPOCHS)
    seconds = trained(model, rp.Pathwise(5, rp.iwae), data.train, epochs=EPOCHS, batch_size=100, lr=lr)
    return {"name": name, "seed": seed, "seconds": seconds, **bounds(model, data.test, 500)}


if __name__ == "__main__":
    run_missing(Path(__file__).with_suffix(".json"), train, list(MODELS))
