"""One decoder, many latents: dynamic MNIST, 20 epochs, seeds 1 to 3.

    python reproductions/latents.py    # a run that is there is not repeated; results in latents.json, samples in imgs/

Only the two lines that name the latent and its estimator change: 784-400-latent-400-784, ReLU, batch 128, Adam with a
cosine schedule from 2e-3 to zero. Seconds are processor seconds of one thread.
"""

from pathlib import Path
from typing import Any

from runs import SEEDS, begin, bounds, run_missing, trained

import reparam as rp

EPOCHS = 20
LATENTS: dict[str, tuple[rp.Family, rp.Estimator]] = {
    "Gaussian(20)": (rp.Gaussian(20), rp.Pathwise()),
    "Gaussian(20, covariance='full')": (rp.Gaussian(20, covariance="full"), rp.Pathwise()),
    "Laplace(20)": (rp.Laplace(20), rp.Pathwise()),
    "StudentT(20)": (rp.StudentT(20), rp.Pathwise()),
    "Gamma(20)": (rp.Gamma(20), rp.Pathwise()),
    "Kumaraswamy(20)": (rp.Kumaraswamy(20), rp.Pathwise()),
    "Dirichlet((), 20)": (rp.Dirichlet((), 20), rp.Pathwise()),
    "VonMises(20)": (rp.VonMises(20), rp.Pathwise()),
    "PowerSpherical(20)": (rp.PowerSpherical(20), rp.Pathwise()),
    "Bernoulli(20)": (rp.Bernoulli(20), rp.RLOO(4)),
    "Categorical(20, 10)": (rp.Categorical(20, 10), rp.RLOO(4)),
    "Ordinal(20, 10)": (rp.Ordinal(20, 10), rp.RLOO(4)),
    "Poisson(20)": (rp.Poisson(20), rp.RLOO(4)),
    "Joint(a=Gaussian(10), b=Categorical(10, 10))": (
        rp.Joint(a=rp.Gaussian(10), b=rp.Categorical(10, 10)),
        rp.Relaxed(rp.exponential(1.0, 0.1, rate=3e-4)),
    ),
}
IMAGES = Path(__file__).resolve().parent.parent / "imgs" / "latents"


def train(name: str, seed: int) -> dict[str, Any]:
    """One training; ELBO and L_500 on the test set, samples of the first seed."""
    begin(seed)
    latent, estimator = LATENTS[name]
    data, pixels = rp.mnist("dynamic"), rp.Bernoulli(784)
    model = rp.VAE(
        latent,
        pixels,
        encoder=rp.mlp(784, [400], latent.num_params),
        decoder=rp.mlp(latent.num_features, [400], pixels.num_params, output_bias=data.train.mean_logits()),
    )
    lr = rp.cosine(2e-3, 469 * EPOCHS)
    seconds = trained(model, estimator, data.train, epochs=EPOCHS, batch_size=128, lr=lr)
    picture = "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_") + ".png"
    if seed == SEEDS[0]:
        rp.save_image_grid(IMAGES / picture, rp.sample(model, 10), columns=10)
    about = {"name": name, "estimator": str(estimator), "picture": picture, "seed": seed, "seconds": seconds}
    return about | bounds(model, data.test, 500)


if __name__ == "__main__":
    run_missing(Path(__file__).with_suffix(".json"), train, list(LATENTS))
