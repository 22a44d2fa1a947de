"""Presets: discrete VAEs of MNIST, with a training that was found to be good for them."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class Preset:
    """A VAE of 784 grey pixels with 400 hidden units on either side, and how to train it.

    The estimator begins as `Relaxed` at a temperature that falls geometrically, which finds good codes, and ends as
    `RLOO`, which makes them exact. The learning rate of AdamW warms up over 500 steps and falls along a cosine to zero.
    All of it stretches with the number of steps, so `dataclasses.replace(preset, epochs=3)` is a shorter one.

    Attributes:
        latent: family of z.
        epochs: passes over the training images, in batches of 128.
        peak_lr: largest learning rate.
        relaxed_share: of the training that is relaxed, 0 to 1.
        end_temperature: that the relaxation falls to from 1 over the whole training.
        num_samples: K of RLOO.
        weight_decay: of AdamW; it keeps the encoder from overfitting in long trainings.

    Example:
        >>> preset = presets["categorical, 10 epochs"]
        >>> preset.estimator(num_steps=4690).at(4000)
        RLOO(num_samples=8)
    """

    latent: Family
    epochs: int
    peak_lr: float
    relaxed_share: float
    end_temperature: float
    num_samples: int
    weight_decay: float = 0.0

    def build(self, data: Data) -> VAE:
        """The untrained model; the decoder starts at the data's mean."""
        if not isinstance(data, Data):
            raise TypeError(
                f"data is a {type(data).__name__}; it must be Data, such as rp.mnist().train or rp.Data(x)."
            )
        decoder = mlp(self.latent.num_features, [400], 784, output_bias=data.mean_logits())
        return VAE(self.latent, Bernoulli(784), mlp(784, [400], self.latent.num_params), decoder)

    def estimator(self, num_steps: int) -> Estimator:
        """The estimator in its stages, for a training of so many steps."""
        relaxed = Relaxed(geometric(1.0, self.end_temperature, num_steps))
        switch = round(self.relaxed_share * num_steps)
        if 0 < switch < num_steps:
            return Stages((0, relaxed), (switch, RLOO(self.num_samples)))
        return relaxed if switch else RLOO(self.num_samples)

    def lr(self, num_steps: int) -> Schedule:
        """The learning rate, for a training of so many steps."""
        return cosine(self.peak_lr, num_steps, warmup=min(500, num_steps // 4))

    def fit(self, model: VAE, data: Data, **options: Any) -> list[Epoch]:
        """Trains it; `options` are those of `rp.fit`, such as `on_epoch`."""
        num_steps = self.epochs * math.ceil(len(data) / 128)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=self.weight_decay, fused=True)
        how = {"epochs": self.epochs, "batch_size": 128, "lr": self.lr(num_steps), "optimizer": optimizer, **options}
        return fit(model, self.estimator(num_steps), data, **how)


presets = {
    "bernoulli, 10 epochs": Preset(Bernoulli(20), 10, 7e-3, 0.0, 0.2, 8),
    "categorical, 10 epochs": Preset(Categorical(20, 10), 10, 5e-3, 0.6, 0.2, 8),
    "bernoulli, 5 minutes": Preset(Bernoulli(20), 105, 5e-3, 0.85, 0.1, 4, weight_decay=0.05),
    "categorical, 5 minutes": Preset(Categorical(20, 10), 100, 5e-3, 1.0, 0.1, 4),
}
