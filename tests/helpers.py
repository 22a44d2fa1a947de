"""Small models with known answers, and statistics with a tolerance from the standard error."""

import copy
import math
from typing import ClassVar

import torch
from scipy import stats
from torch import nn
from torch.distributions import Distribution, Independent, Normal, constraints

import reparam as rp


def small_vae(latent, num_pixels=6, hidden=5, observation=None):
    """A VAE small enough to enumerate, with random weights large enough that nothing is nearly uniform."""
    observation = observation or rp.Bernoulli(num_pixels)
    num_pixels = observation.event_shape.numel()
    model = rp.VAE(
        latent,
        observation,
        rp.mlp(tuple(observation.event_shape), [hidden], latent.num_params, nn.Tanh),
        rp.mlp(latent.num_features, [hidden], observation.num_params, nn.Tanh),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.9)
    return model


class LinearGaussian(nn.Module):
    """z ~ N(0, I), x|z ~ N(W z + b, s^2 I): log p(x) is that of one normal. The posterior is a factorised guess."""

    def __init__(self, num_latents=2, num_pixels=3, looseness=1.2):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_pixels, num_latents))
        self.bias = nn.Parameter(torch.randn(num_pixels))
        self.scale = 0.7
        self.looseness = looseness

    def marginal(self):
        identity = torch.eye(len(self.bias))
        covariance = self.weight @ self.weight.T + self.scale**2 * identity
        return torch.distributions.MultivariateNormal(self.bias, covariance)

    def prior(self):
        zeros = torch.zeros(self.weight.shape[1])
        return Independent(Normal(zeros, 1.0), 1)

    def posterior(self, x):
        precision = torch.eye(self.weight.shape[1]) + self.weight.T @ self.weight / self.scale**2
        covariance = torch.linalg.inv(precision)
        loc = (x - self.bias) @ self.weight @ covariance / self.scale**2
        return Independent(Normal(loc, self.looseness * covariance.diagonal().sqrt()), 1)

    def likelihood(self, z):
        return Independent(Normal(z @ self.weight.T + self.bias, self.scale), 1)


class Chain(Distribution):
    """Bits in two levels as one distribution: the first, and the second given the first."""

    arg_constraints: ClassVar = {}
    support = constraints.independent(constraints.boolean, 1)
    has_enumerate_support = True

    def __init__(self, logits, second_logits, weight):
        self.logits, self.second_logits, self.weight = logits, second_logits, weight
        size = logits.shape[-1] + second_logits.shape[-1]
        super().__init__(logits.shape[:-1], torch.Size([size]), validate_args=False)

    def _second(self, first):
        return Independent(rp.distributions.Bernoulli(self.second_logits + first @ self.weight), 1)

    def sample(self, sample_shape=()):
        with torch.no_grad():
            first = rp.distributions.Bernoulli(self.logits).sample(sample_shape)
            return torch.cat([first, self._second(first).sample()], -1)

    def log_prob(self, z):
        first, second = z.split([self.logits.shape[-1], self.second_logits.shape[-1]], -1)
        level = Independent(rp.distributions.Bernoulli(self.logits), 1)
        return level.log_prob(first) + self._second(first).log_prob(second)

    def enumerate_support(self, expand=True):
        coins = Independent(rp.distributions.Bernoulli(torch.zeros(self.event_shape[0])), 1)
        return rp.distributions.joint_support(coins)


class TwoLevels(nn.Module):
    """A model with a chain of 2 + 2 bits for prior and posterior, whose latents are not independent."""

    def __init__(self, num_pixels=6):
        super().__init__()
        shapes = {"a": (2,), "b": (2,), "c": (2, 2), "d": (num_pixels, 2), "e": (num_pixels, 2), "f": (2, 2)}
        shapes |= {"g": (4, num_pixels), "h": (num_pixels,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))

    def prior(self):
        return Chain(self.a, self.b, self.c)

    def posterior(self, x):
        return Chain(x @ self.d, x @ self.e, self.f)

    def likelihood(self, z):
        return rp.Bernoulli(len(self.h)).likelihood(z @ self.g + self.h)


class LearnedPrior(nn.Module):
    """Five bits with learned log-odds, and a normal likelihood."""

    def __init__(self, num_pixels=6):
        super().__init__()
        self.prior_logits = nn.Parameter(torch.randn(5))
        self.encoder = nn.Linear(num_pixels, 5)
        self.decoder = nn.Linear(5, num_pixels)

    def prior(self):
        return Independent(rp.distributions.Bernoulli(self.prior_logits), 1)

    def posterior(self, x):
        return Independent(rp.distributions.Bernoulli(self.encoder(x)), 1)

    def likelihood(self, z):
        return Independent(Normal(torch.tanh(self.decoder(z)), 0.6), 1)


class TorchLatent(nn.Module):
    """A model of torch's own distributions: three coins, one scalar coin, or a single symbol without `Independent`."""

    def __init__(self, kind, num_pixels=6):
        super().__init__()
        self.kind = kind
        width = {"coins": 3, "coin": 1, "symbol": 4}[kind]
        self.prior_logits = nn.Parameter(torch.randn(width))
        self.encoder = nn.Linear(num_pixels, width)
        self.decoder = nn.Linear(width, num_pixels)

    def _latent(self, logits):
        if self.kind == "coins":
            return Independent(torch.distributions.Bernoulli(logits=logits), 1)
        if self.kind == "coin":
            return torch.distributions.Bernoulli(logits=logits.squeeze(-1))
        return torch.distributions.OneHotCategorical(logits=logits)

    def prior(self):
        return self._latent(self.prior_logits)

    def posterior(self, x):
        return self._latent(self.encoder(x))

    def likelihood(self, z):
        features = z.unsqueeze(-1) if self.kind == "coin" else z
        return Independent(Normal(torch.tanh(2 * self.decoder(features)), 0.6, validate_args=False), 1)


class Makes(nn.Module):
    """A module whose `forward()` returns what it was given."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self):
        return self.made


def exact_log_likelihood(model, x):
    """log p(x) of a model with an enumerable latent, by summing over its states."""
    states = rp.distributions.joint_support(model.prior())
    log_joint = model.likelihood(states[:, None].expand(-1, len(x), *states.shape[1:])).log_prob(x)
    return (log_joint + model.prior().log_prob(states)[:, None]).logsumexp(0)


def gradient(loss, model):
    """The gradient of `loss` with respect to all parameters of the model, as one vector."""
    parts = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat(
        [torch.zeros(p.numel()) if g is None else g.flatten() for g, p in zip(parts, model.parameters(), strict=True)]
    )


def assert_mean(samples, expected, num_errors=4.0):
    """The mean over the first axis is `expected` within `num_errors` standard errors, in every coordinate."""
    error = samples.std(0) / math.sqrt(len(samples))
    distance = (samples.mean(0) - expected).abs()
    resolution = 1e-9 * (1 + torch.as_tensor(expected).abs())  # a coordinate without spread must agree exactly
    assert (distance <= num_errors * error + resolution).all(), (
        f"off by {(distance / (error + resolution)).max():.1f} standard errors"
    )


def double(*values):
    """The values as a tensor in float64, whatever the default is."""
    return torch.tensor(values, dtype=torch.float64)


def validating(distribution):
    """A copy of the distribution that checks the values it scores."""
    distribution = copy.copy(distribution)
    distribution._validate_args = True
    return distribution


def weights(model):
    """All parameters of the model, as one vector."""
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def gradients(estimator, model, x, repeats):
    """Repeated gradients, `[repeats, P]`."""
    return torch.stack([gradient(estimator(model, x).loss, model) for _ in range(repeats)])


def largest_z(samples, expected):
    """How many standard errors the mean is off in its worst coordinate, and how many a right one may be.

    The limit is that of Student's t at a family-wise error of 1e-4 over the coordinates that vary; one without spread
    must agree exactly.
    """
    mean, error = samples.mean(0), samples.std(0) / math.sqrt(len(samples))
    distance = (mean - expected).abs()
    constant = error < 1e-10 * (1 + expected.abs())
    assert (distance[constant] < 1e-8 * (1 + expected.abs()[constant])).all(), "a coordinate without spread is wrong"
    z = (distance / error)[~constant]
    limit = stats.t.isf(1e-4 / (2 * max(len(z), 1)), len(samples) - 1)
    return (z.max().item() if len(z) else 0.0), limit
