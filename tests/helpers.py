"""Small models with known answers, and statistics with a tolerance from the standard error."""

import math

import torch
from torch import nn
from torch.distributions import Independent, Normal

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
