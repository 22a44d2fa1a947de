"""Every kind of prior by name, and a small VAE with one of them, all parameters random."""

import torch
from helpers import small_vae
from hierarchies import randomise

import reparam as rp
from reparam.families.flow import import_zuko
from reparam.priors import AutoregressivePrior, LearnedPrior, MixturePrior, VampPrior

zuko = import_zuko()

DISCRETE = {
    "learned bits": (rp.Bernoulli(4), lambda z, _: LearnedPrior(z)),
    "learned symbols": (rp.Categorical(2, 3), lambda z, _: LearnedPrior(z)),
    "mixture of bits": (rp.Bernoulli(4), lambda z, _: MixturePrior(z, 3)),
    "mixture of symbols": (rp.Categorical((2, 1), 3), lambda z, _: MixturePrior(z, 3)),
    "vamp of bits": (rp.Bernoulli(4), lambda z, encoder: VampPrior(z, encoder, torch.rand(5, 6))),
    "autoregressive bits": (rp.Bernoulli(4), lambda z, _: AutoregressivePrior(z, [8])),
    "autoregressive grid": (rp.Bernoulli((2, 2)), lambda z, _: AutoregressivePrior(z, [])),
    "autoregressive symbols": (rp.Categorical(2, 3), lambda z, _: AutoregressivePrior(z, [8, 8])),
}
CONTINUOUS = {
    "learned": (rp.Gaussian(2), lambda z, _: LearnedPrior(z)),
    "mixture": (rp.Gaussian(2), lambda z, _: MixturePrior(z, 3)),
    "vamp": (rp.Gaussian(2), lambda z, encoder: VampPrior(z, encoder, torch.rand(5, 6))),
    "nsf": (rp.Gaussian(2), lambda z, _: zuko.flows.NSF(features=2, transforms=2, hidden_features=[8])),
    "maf": (rp.Gaussian(2), lambda z, _: zuko.flows.MAF(features=2, transforms=2, hidden_features=[8])),
}
OWN = [*DISCRETE, "learned", "mixture", "vamp"]  # of this library, not of zuko


def model_with(name):
    """A small VAE with this prior, all parameters random."""
    latent, make = {**DISCRETE, **CONTINUOUS}[name]
    plain = small_vae(latent)
    prior = randomise(make(latent, plain.encoder), 0.4 if name in ("maf", "nsf") else 0.9)
    return rp.VAE(latent, plain.observation, plain.encoder, plain.decoder, prior=prior)
