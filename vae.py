"""A variational autoencoder written out by hand, on MNIST: the template for the other three scripts.

20 numbers z ~ N(0, I) explain an image x: the decoder makes of them the log-odds of 784 pixels, p(x|z), and the encoder
guesses them from x, q(z|x) = N(loc, scale^2). Both train on a bound of log p(x): E_q[log p(x|z)] - KL(q(z|x) || p(z)).
"""

from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

import reparam as rp


class VAE(nn.Module):
    """784 pixels -> 400 -> loc and log-variance of 20 latents -> 400 -> the logits of 784 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * 20))
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

    def elbo(self, x: Tensor, kl: str = "analytic") -> tuple[Tensor, Tensor]:
        """The bound of each image, in nats, [B], and the reconstructions, [B, 784]."""
        loc, log_variance = self.encoder(x).chunk(2, -1)
        scale = (log_variance / 2).exp()
        z = loc + scale * torch.randn_like(loc)  # the gradient passes through the sample
        logits = self.decoder(z)
        log_likelihood = -nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        variance = scale**2
        divergence = 0.5 * (variance + loc**2 - 1 - variance.log())  # Kingma and Welling 2013, appendix B
        if kl == "sampled":  # log q(z|x) - log p(z) instead, whose expectation it is
            divergence = 0.5 * (z**2 - (z - loc) ** 2 / variance - variance.log())
        return log_likelihood - divergence.sum(-1), logits.sigmoid()


def main(
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 1,
    device: str = "cpu",
    estimator: Literal["analytic", "sampled"] = "analytic",
    results: Path = Path("results/vae"),
) -> None:
    """A VAE with 20 Gaussian latents on grey MNIST, by hand. All numbers are nats per image.

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
    model = VAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    train, test = data.train.batches(batch_size, shuffle=True), data.test.batches(batch_size)

    @torch.no_grad()
    def test_bounds() -> Tensor:
        return torch.cat([model.elbo(x, estimator)[0] for x in test]).double()

    for epoch in range(1, epochs + 1):
        bounds = []
        for x in rp.progress(train, f"epoch {epoch}/{epochs}"):
            bound, _ = model.elbo(x, estimator)
            bounds.append(bound.detach())
            optimizer.zero_grad()
            (-bound.mean()).backward()
            optimizer.step()
        print(f"====> Epoch: {epoch} Average loss: {-torch.cat(bounds).double().mean():.4f}")
        with torch.no_grad():
            print(f"====> Test set loss: {-test_bounds().mean():.4f}", flush=True)
            x = data.test[:8]
            rp.save_image_grid(results / f"reconstruction_{epoch}.png", torch.cat([x, model.elbo(x)[1]]))
            z = torch.randn(64, 20, device=device)
            rp.save_image_grid(results / f"sample_{epoch}.png", model.decoder(z).sigmoid())
    bound = test_bounds()
    print(f"====> Test exact bound: {-bound.mean():.4f} +/- {bound.std() / len(bound) ** 0.5:.4f}")


if __name__ == "__main__":
    tyro.cli(main)
