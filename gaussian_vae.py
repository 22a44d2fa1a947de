"""The VAE of `vae.py` again, through the library: the same model, the same noise, the same numbers.

What was formulas is now three `torch.distributions`: a prior p(z), a posterior q(z|x) and a likelihood p(x|z). A family
such as `rp.Gaussian(20)` makes one from the output of a network and knows how many outputs that takes, so nothing below
spells out a density or a KL; `rp.Pathwise()` is the gradient through the sample. What changes in the other two scripts
is one line each: the latent, and the estimator that fits it. Run `python gaussian_vae.py --help`.
"""

from pathlib import Path
from typing import Literal

import torch
import tyro

import reparam as rp


def main(
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 1,
    device: str = "cpu",
    estimator: Literal["analytic", "sampled"] = "analytic",
    results: Path = Path("results/gaussian_vae"),
) -> None:
    """A VAE with 20 Gaussian latents on grey MNIST, through the library. All numbers are nats per image.

    Args:
        epochs: Passes over the 60,000 training images.
        batch_size: Images per step.
        lr: Learning rate of Adam.
        seed: Of the weights, the order of the images and the noise.
        device: Such as cpu or cuda.
        estimator: Take the KL of the bound in closed form or at the sample.
        results: Folder for the pictures.
    """
    results.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    data = rp.mnist("grey", device=device)
    latent, pixels = rp.Gaussian(20), rp.Bernoulli(784)
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

    pathwise = rp.Pathwise(kl=estimator)
    rp.fit(model, pathwise, data.train, epochs=epochs, batch_size=batch_size, lr=lr, on_epoch=report)
    exact = rp.evaluate(model, data.test, num_samples=16).elbo
    print(f"====> Test exact bound: {-exact.value:.4f} +/- {exact.standard_error:.4f}")


if __name__ == "__main__":
    tyro.cli(main)
