"""What the wrong normaliser of torch's ContinuousBernoulli costs: grey MNIST, 10 epochs, seeds 1 to 3.

    python reproductions/continuous_bernoulli.py    # results in continuous_bernoulli.json

The same network trains twice, with the log-density of `rp.distributions.ContinuousBernoulli` and with torch's; then
both are evaluated under the right one, which integrates to one, and under the one that they were trained with. Bounds
of a density are of grey values in [0, 1]; they do not compare with those of bits.
"""

from pathlib import Path
from typing import Any

import torch
from runs import begin, run_missing, trained
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Distribution, Independent

import reparam as rp


class TorchPixels(rp.Family):
    """torch's density as an observation family."""

    def __init__(self, size: int) -> None:
        self.event_shape, self.num_params = torch.Size([size]), size

    def _distribution(self, params: Tensor) -> Distribution:
        return Independent(ContinuousBernoulli(logits=params), 1)


PIXELS: dict[str, rp.Family] = {"reparam": rp.ContinuousBernoulli(784), "torch": TorchPixels(784)}


def train(name: str, seed: int) -> dict[str, Any]:
    """One training, and negative ELBOs of the test set under both densities."""
    begin(seed)
    data, latent = rp.mnist("grey"), rp.Gaussian(20)
    model = rp.VAE(latent, PIXELS[name], rp.mlp(784, [400], latent.num_params), rp.mlp(20, [400], 784))
    seconds = trained(model, rp.Pathwise(), data.train, epochs=10, lr=1e-3)
    found: dict[str, Any] = {"name": name, "seed": seed, "seconds": seconds}
    for density, pixels in PIXELS.items():
        model.observation = pixels
        found[f"elbo under {density}"] = round(-rp.evaluate(model, data.test, num_samples=10).elbo.value, 2)
    with torch.no_grad():
        logits = model.decoder(model.posterior(data.test[:1000]).sample())
        found["share of pixels beyond logit 10"] = round((logits.abs() > 10).double().mean().item(), 4)
    return found


if __name__ == "__main__":
    run_missing(Path(__file__).with_suffix(".json"), train, list(PIXELS))
