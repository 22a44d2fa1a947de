"""The VAE with 20 bits in place of 20 real numbers.

Against `gaussian_vae.py` two things change: the latent is `rp.Bernoulli(20)`, and as no gradient passes through a bit,
there is an estimator to choose (`--estimator`):

- surrogate: what the literature trains and quotes. The likelihood sees a *relaxed* bit between 0 and 1, z =
  sigmoid((logit + noise) / temperature), while the KL is that of the bits. The printed loss is the bound of no model.
- relaxed: the same sample with its own relaxed KL: an honest bound, of the relaxed model.
- straight-through: the likelihood sees the rounded bit, the gradient the relaxed one.
- rloo: nothing is relaxed. Four draws of bits are each compared with the mean of the other three.

However it was trained, the model *is* discrete. The last line evaluates just that, with hard bits, and shows how far
below the truth the surrogate's loss can be. Run `python binconcrete.py --help`.
"""

from pathlib import Path
from typing import Literal

import torch
import tyro

import reparam as rp

TEMPERATURE = rp.exponential(1.0, 0.1, rate=3e-5)
ESTIMATORS: dict[str, rp.Estimator] = {
    "surrogate": rp.Relaxed(TEMPERATURE, kl="exact"),
    "relaxed": rp.Relaxed(TEMPERATURE, kl="relaxed"),
    "straight-through": rp.Relaxed(TEMPERATURE, kl="exact", straight_through=True),
    "rloo": rp.RLOO(num_samples=4),
}


def main(
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 1,
    device: str = "cpu",
    estimator: Literal["surrogate", "relaxed", "straight-through", "rloo"] = "surrogate",
    results: Path = Path("results/binconcrete"),
) -> None:
    """A VAE with 20 Bernoulli latents on grey MNIST. All numbers are nats per image.

    Args:
        epochs: Passes over the 60,000 training images.
        batch_size: Images per step.
        lr: Learning rate of Adam.
        seed: Of the weights, the order of the images and the noise.
        device: Such as cpu or cuda.
        estimator: How the gradient passes the discrete latents, see the top of the file.
        results: Folder for the pictures.
    """
    results.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    data = rp.mnist("grey", device=device)
    latent, pixels = rp.Bernoulli(20), rp.Bernoulli(784)
    model = rp.VAE(
        latent,
        pixels,
        encoder=rp.mlp(784, [400], latent.num_params),
        decoder=rp.mlp(latent.num_features, [400], pixels.num_params),
    ).to(device)

    def report(epoch: rp.Epoch) -> None:
        print(f"====> Epoch: {epoch.number} Average loss: {epoch.loss:.4f}")
        loss = rp.mean_loss(model, epoch.estimator, data.test, batch_size=batch_size)
        print(f"====> Test set loss: {loss:.4f}", flush=True)
        x = data.test[:8]
        rp.save_image_grid(results / f"reconstruction_{epoch.number}.png", torch.cat([x, rp.reconstruct(model, x)]))
        rp.save_image_grid(results / f"sample_{epoch.number}.png", rp.sample(model, 64))

    rp.fit(model, ESTIMATORS[estimator], data.train, epochs=epochs, batch_size=batch_size, lr=lr, on_epoch=report)
    exact = rp.evaluate(model, data.test, num_samples=16).elbo
    print(f"====> Test exact bound: {-exact.value:.4f} +/- {exact.standard_error:.4f}")


if __name__ == "__main__":
    tyro.cli(main)
