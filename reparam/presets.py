"""Presets: discrete VAEs of MNIST, with a training that was found to be good for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from reparam.data import Data
from reparam.estimators import RLOO, Estimator, Relaxed, Stages
from reparam.families import Bernoulli, Categorical, Family
from reparam.model import VAE
from reparam.networks import mlp
from reparam.schedules import Schedule, cosine, geometric
from reparam.training import Epoch, fit


@dataclass(frozen=True, eq=False)
class Preset:
    """A VAE of 784 grey pixels with 400 hidden units on either side, and how to train it.

    Attributes:
        latent: family of z.
        estimator: in stages.
        epochs: passes over the 60,000 training images, in batches of 128.
        lr: learning rate, by step.
        weight_decay: of AdamW.

    Example:
        >>> import reparam as rp
        >>> preset = rp.presets["categorical, 10 epochs"]
        >>> preset.epochs, str(preset.estimator.at(10**5))
        (10, 'RLOO(num_samples=8)')
    """

    latent: Family
    estimator: Estimator
    epochs: int
    lr: Schedule
    weight_decay: float = 0.0

    def build(self, data: Data) -> VAE:
        """The untrained model; the decoder starts at the data's mean."""
        decoder = mlp(self.latent.num_features, [400], 784, output_bias=data.mean_logits())
        return VAE(self.latent, Bernoulli(784), mlp(784, [400], self.latent.num_params), decoder)

    def fit(self, model: VAE, data: Data, **options: Any) -> list[Epoch]:
        """Trains it; `options` are those of `rp.fit`, such as `on_epoch`."""
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=self.weight_decay, fused=True)
        return fit(
            model, self.estimator, data, epochs=self.epochs, batch_size=128, lr=self.lr, optimizer=optimizer, **options
        )


_STEPS = 469  # an epoch of 60,000 images in batches of 128


def _relaxed_then_exact(
    latent: Family, epochs: int, relaxed_epochs: int, *, lr: float, end: float, decay: float, k: int
) -> Preset:
    """The surrogate at a falling temperature, then RLOO: the first finds good codes, the second makes them exact."""
    relaxed = Relaxed(geometric(1.0, end, num_steps=epochs * _STEPS), kl="exact")
    stages: Estimator = RLOO(k) if relaxed_epochs == 0 else relaxed
    if 0 < relaxed_epochs < epochs:
        stages = Stages((0, relaxed), (relaxed_epochs * _STEPS, RLOO(k)))
    return Preset(latent, stages, epochs, cosine(lr, num_steps=epochs * _STEPS, warmup=500), decay)


presets = {
    "bernoulli, 10 epochs": _relaxed_then_exact(Bernoulli(20), 10, 0, lr=7e-3, end=0.2, decay=0.0, k=8),
    "categorical, 10 epochs": _relaxed_then_exact(Categorical(20, 10), 10, 6, lr=5e-3, end=0.2, decay=0.0, k=8),
    "bernoulli, 5 minutes": _relaxed_then_exact(Bernoulli(20), 80, 68, lr=5e-3, end=0.1, decay=0.05, k=4),
    "categorical, 5 minutes": _relaxed_then_exact(Categorical(20, 10), 100, 100, lr=5e-3, end=0.1, decay=0.0, k=4),
}
