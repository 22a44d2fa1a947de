"""The model: a prior, a posterior and a likelihood, each a torch distribution."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam._tensors import folded
from reparam.families import Family


@runtime_checkable
class LatentVariableModel(Protocol):
    """Anything with these three methods trains and is evaluated here; no base class is needed.

    Batch shapes: `prior()` has none, `posterior(x)` has `[B]` for x of shape `[B, *event]`, `likelihood(z)` has the
    leading axes of z, usually `[K, B]`. Wrap per-element distributions in `torch.distributions.Independent`.
    """

    def prior(self) -> Distribution:
        """p(z)."""
        ...

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x), the approximate posterior."""
        ...

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z)."""
        ...


class VAE(nn.Module):
    """The variational autoencoder: two networks between two families.

    Args:
        latent: family of z; the prior is its standard member, the posterior the member that the encoder names.
        observation: family of x.
        encoder: `[B, *observation.event_shape]` to `latent.num_params` numbers for each example.
        decoder: `[N, latent.num_features]` to `observation.num_params` numbers for each row, in any shape such as
            `[N, 1, 28, 28]`. The sample and batch axes are folded into N, so convolutions and batch norm may be used.

    Raises:
        TypeError: a family or a network of another kind.

    Reference:
        Kingma, Welling, Auto-Encoding Variational Bayes, 2013, arXiv 1312.6114.

    Example:
        >>> from reparam import Gaussian, Bernoulli, mlp
        >>> latent, pixels = Gaussian(20), Bernoulli(784)
        >>> model = VAE(latent, pixels, mlp(784, [400], latent.num_params), mlp(20, [400], pixels.num_params))
        >>> model.likelihood(model.prior().sample((64,))).mean.shape
        torch.Size([64, 784])
    """

    def __init__(self, latent: Family, observation: Family, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        for name, family in (("latent", latent), ("observation", observation)):
            if not isinstance(family, Family):
                raise TypeError(
                    f"{name} is {family!r}; it must be a family such as rp.Gaussian(20) or rp.Bernoulli(784)."
                )
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(network, nn.Module):
                raise TypeError(f"{name} is {network!r}; it must be an nn.Module, such as rp.mlp(784, [400], 40).")
        self.latent = latent
        self.observation = observation
        self.encoder = encoder
        self.decoder = decoder
        # only its device and dtype are used: a buffer follows the model, and no checkpoint needs to hold it
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())
        self.register_buffer("_standard", torch.zeros(latent.num_params, dtype=dtype), persistent=False)

        # the prior is asked for in every step and never changes: it is built once for each device and dtype
        self._prior: tuple[tuple[torch.device, torch.dtype], Distribution] | None = None

    _standard: Tensor

    def prior(self) -> Distribution:
        """p(z): the standard member of the latent family."""
        if torch.compiler.is_compiling():  # a graph is made once; there is nothing to save, and a cache would be state
            return self.latent.standard(torch.zeros_like(self._standard))
        where = (self._standard.device, self._standard.dtype)
        if self._prior is None or self._prior[0] != where:
            with torch.inference_mode(False):
                self._prior = (where, self.latent.standard(torch.zeros_like(self._standard)))
        return self._prior[1]

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) with batch shape `[B]`."""
        check_observation(x, self.observation)
        return self.latent(self.encoder(x).flatten(1))

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) with the leading axes of z as its batch shape."""
        return self.observation.likelihood(folded(self.decoder, self.latent.features(z)))

    def extra_repr(self) -> str:
        return f"latent={self.latent}, observation={self.observation}"


def check_observation(x: Tensor, observation: Family) -> None:
    """Refuses x of another shape than the observations of the model."""
    event_shape = observation.event_shape
    if x.shape[1:] != event_shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; the model's observations are {tuple(event_shape)}, so x is "
            f"[batch, {', '.join(map(str, event_shape))}]. Reshape x, or give the observation family its shape."
        )
