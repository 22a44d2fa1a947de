"""What the printed loss claims and what the model is, epoch by epoch: the README's picture.

    python reproductions/curves.py    # about 4 minutes on two cores, seed 1; writes reproductions/curves.json

`python scripts/pictures.py` draws it.
"""

import json
from pathlib import Path

import torch

import reparam as rp

RESULTS = Path(__file__).with_suffix(".json")
TEMPERATURE = rp.exponential(1.0, 0.1, rate=3e-5)
LATENTS: dict[str, rp.Family] = {"20 Bernoulli": rp.Bernoulli(20), "20 x 10 Categorical": rp.Categorical(20, 10)}
ESTIMATORS: dict[str, rp.Estimator] = {"surrogate": rp.Relaxed(TEMPERATURE, kl="exact"), "rloo": rp.RLOO(num_samples=4)}


def curve(latent: rp.Family, estimator: rp.Estimator, seed: int = 1) -> dict[str, list[float]]:
    """Test loss as printed and exact test bound after each of ten epochs, in nats."""
    torch.manual_seed(seed)
    data = rp.mnist("grey")
    encoder = rp.mlp(784, [400], latent.num_params)
    model = rp.VAE(latent, rp.Bernoulli(784), encoder, rp.mlp(latent.num_features, [400], 784))
    found: dict[str, list[float]] = {"claimed": [], "exact": []}

    def measure(epoch: rp.Epoch) -> None:
        found["claimed"].append(rp.mean_loss(model, epoch.estimator, data.test))
        found["exact"].append(-rp.evaluate(model, data.test, num_samples=16).elbo.value)
        # the draws of the examples' pictures, so that seed 1 here is seed 1 of `make run` to the last digit
        rp.reconstruct(model, data.test[:8])
        rp.sample(model, 64)

    rp.fit(model, estimator, data.train, epochs=10, on_epoch=measure)
    return found


def main() -> None:
    curves = {
        f"{latent}, {name}": curve(family, estimator)
        for latent, family in LATENTS.items()
        for name, estimator in ESTIMATORS.items()
    }
    RESULTS.write_text(json.dumps(curves, indent=1) + "\n")


if __name__ == "__main__":
    main()
