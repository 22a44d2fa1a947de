"""This library: `fit` with its defaults."""

from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

import reparam as rp
from sides import Case, Images, Report

TEMPERATURE = rp.exponential(1.0, 0.1, rate=3e-5)
CASES: dict[str, tuple[rp.Family, rp.Estimator]] = {
    "gaussian": (rp.Gaussian(20), rp.Pathwise()),
    "iwae-20": (rp.Gaussian(50), rp.Pathwise(num_samples=50, bound=rp.iwae)),
    "iwae-128": (rp.Gaussian(50), rp.Pathwise(num_samples=50, bound=rp.iwae)),
    "rloo": (rp.Categorical(20, 10), rp.RLOO(num_samples=4)),
    "binconcrete": (rp.Bernoulli(20), rp.Relaxed(TEMPERATURE, kl="exact")),
    "concrete": (rp.Categorical(20, 10), rp.Relaxed(TEMPERATURE, kl="exact")),
}


def train(case: Case, variant: str, images: Images, epochs: int, report: Report) -> None:
    """`variant` is a precision of lightning-fabric, or nothing for `fit` without it."""
    options: dict[str, Any] = {}
    if variant:
        options["fabric"] = Fabric(accelerator="cpu", devices=1, precision=cast(Any, variant))
        options["fabric"].launch()
    torch.manual_seed(0)
    latent, estimator = CASES[case.name]
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[case.activation]
    hidden = list(case.hidden)
    encoder = rp.mlp(784, hidden, latent.num_params, activation)
    decoder = rp.mlp(latent.num_features, hidden[::-1], 784, activation)
    model = rp.VAE(latent, rp.Bernoulli(784), encoder, decoder)
    data = rp.Data(torch.from_numpy(images), protocol="grey")
    rp.fit(
        model,
        estimator,
        data,
        epochs=epochs,
        batch_size=case.batch_size,
        lr=1e-3,
        on_epoch=lambda epoch: report(epoch.loss),
        **options,
    )
