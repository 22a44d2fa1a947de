"""The model: a prior, a posterior and a likelihood, each a torch distribution."""

from __future__ import annotations

import warnings
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam._checks import single_tensor
from reparam._tensors import HALF, flat, folded, widened_module
from reparam.distributions import Rounded
from reparam.families import Family
from reparam.networks import Log1p


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


class Model(nn.Module):
    """The common part of our models: modules that make distributions instead of one output."""

    def forward(self, *inputs: object) -> Tensor:
        """Refuses the call: a latent-variable model has no single output.

        Raises:
            TypeError: always; the message names the calls that a reader may have meant.
        """
        raise TypeError(
            f"{type(self).__name__} is called as model(x), and a latent-variable model has no single output. "
            "model.posterior(x) is q(z|x), model.likelihood(z) is p(x|z), rp.reconstruct(model, x) makes "
            "reconstructions, and estimator(model, x).loss is a loss."
        )


class VAE(Model):
    """The variational autoencoder: two networks between two families.

    Args:
        latent: family of z; the prior is its standard member, the posterior the member that the encoder names.
        observation: family of x.
        encoder: `[B, *observation.event_shape]` to `latent.num_params` numbers for each example. A tuple of tensors is
            joined in its order, so for `Gaussian` an encoder may return (mu, logvar).
        decoder: `[N, latent.num_features]` to `observation.num_params` numbers for each row, in any shape such as
            `[N, 1, 28, 28]`. The sample and batch axes are folded into N, so convolutions and batch norm may be used.
        prior: None for the standard member of the latent family; or a module whose `forward()` without arguments makes
            p(z): `LearnedPrior`, `MixturePrior`, `VampPrior`, `AutoregressivePrior`, or a flow, such as
            `zuko.flows.NSF(features=20)`. Its parameters are trained with the model's.

    Raises:
        TypeError: a family, a network or a prior of another kind.
        ValueError: a prior over draws of another shape, or with batch axes.

    Warns:
        UserWarning: a network that ends in an activation such as Sigmoid, while its family takes any real numbers.

    Reference:
        Kingma, Welling, Auto-Encoding Variational Bayes, 2013, arXiv 1312.6114.

    Example:
        >>> from reparam import Gaussian, Bernoulli, mlp
        >>> latent, pixels = Gaussian(20), Bernoulli(784)
        >>> model = VAE(latent, pixels, mlp(784, [400], latent.num_params), mlp(20, [400], pixels.num_params))
        >>> model.likelihood(model.prior().sample((64,))).mean.shape
        torch.Size([64, 784])
    """

    def __init__(
        self,
        latent: Family,
        observation: Family,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, family in (("latent", latent), ("observation", observation)):
            if not isinstance(family, Family):
                raise TypeError(
                    f"{name} is {family!r}; it must be a family such as rp.Gaussian(20) or rp.Bernoulli(784)."
                )
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(network, nn.Module):
                raise TypeError(f"{name} is {network!r}; it must be an nn.Module, such as rp.mlp(784, [400], 40).")
        check_width("decoder", decoder, latent.num_features, f"the num_features of {latent}")
        if len(observation.event_shape) == 1:
            check_width("encoder", encoder, observation.event_shape[0], f"the numbers of one draw of {observation}")
        check_range("encoder", encoder, latent)
        check_range("decoder", decoder, observation)
        self.latent = latent
        self.observation = observation
        self.encoder = encoder
        self.decoder = decoder
        if prior is not None:
            check_prior(prior, latent)
        self.prior_module = prior
        # only its device and dtype are used: a buffer follows the model, and no checkpoint needs to hold it
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())
        self.register_buffer("_standard", torch.zeros(latent.num_params, dtype=dtype), persistent=False)

        # the standard prior is asked for in every step and never changes: it is built once for each device and dtype
        self._prior: tuple[tuple[torch.device, torch.dtype], Distribution] | None = None

    _standard: Tensor

    def prior(self) -> Distribution:
        """p(z): what the prior's module makes of its parameters as they are now, or the family's standard member."""
        if self.prior_module is not None:
            return made_prior(self.prior_module, self._standard.dtype)
        # a graph is made once, so there is nothing to save; and a family with parameters makes another prior each time
        if torch.compiler.is_compiling() or isinstance(self.latent, nn.Module):
            return self.latent.standard(torch.zeros_like(self._standard))
        where = (self._standard.device, self._standard.dtype)
        if self._prior is None or self._prior[0] != where:
            with torch.inference_mode(False):
                self._prior = (where, self.latent.standard(torch.zeros_like(self._standard)))
        return self._prior[1]

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) with batch shape `[B]`."""
        check_observation(x, self.observation)
        return self.latent(flat(self.encoder, x, self._standard.dtype))

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) with the leading axes of z as its batch shape."""
        return self.observation.likelihood(folded(self.decoder, self.latent.features(z)))

    def extra_repr(self) -> str:
        return f"latent={self.latent}, observation={self.observation}"


_LIMITING = (nn.Sigmoid, nn.Softmax, nn.Hardsigmoid, nn.ReLU, nn.ReLU6, nn.Softplus, nn.LogSigmoid)


def check_range(name: str, network: nn.Module, family: Family) -> None:
    """Warns of a network whose last layer limits the parameters of a family to one sign.

    The family turns any real numbers into its parameters: log-odds into probabilities, logarithms into scales. A
    Sigmoid before it would be applied twice, and a Bernoulli's probabilities would all lie above 1/2.
    """
    last = network
    while isinstance(last, nn.Sequential) and len(last):
        shaping = (nn.Flatten, nn.Unflatten, nn.Identity)
        last = next((layer for layer in reversed(last) if not isinstance(layer, shaping)), last[-1])
    if isinstance(last, _LIMITING) and not family.location_only:
        warnings.warn(
            f"{name} ends in {type(last).__name__}, and {family} takes any real numbers, such as log-odds or "
            f"log-scales, which it transforms itself. Let {name} end in a linear layer.",
            stacklevel=3,
        )


def made_prior(prior: nn.Module, dtype: torch.dtype) -> Distribution:
    """p(z) of a prior's module. With weights in 16 bits it is made in float32, and its draws are rounded."""
    if dtype not in HALF or getattr(prior, "takes_half", False):  # a prior of this library, whose family does the same
        made: Distribution = prior()
        return made
    return Rounded(widened_module(prior)(), dtype)


def check_width(name: str, network: nn.Module, width: int, source: str) -> None:
    """Refuses a network whose first layer is linear and takes another number of features than it will get."""
    first = network
    while isinstance(first, nn.Sequential) and len(first):
        first = next((layer for layer in first if not isinstance(layer, nn.Flatten | nn.Identity | Log1p)), first[0])
    if isinstance(first, nn.Linear) and first.in_features != width:
        raise ValueError(
            f"{name} begins with {first.in_features} inputs and gets {width}, {source}. Begin it with {width}, such as "
            f"rp.mlp({width}, ...)."
        )


def check_observation(x: Tensor, observation: Family) -> None:
    """Refuses x that is no tensor, or of another shape than the observations of the model."""
    single_tensor(x)
    event_shape = observation.event_shape
    if x.shape[1:] != event_shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; the model's observations are {tuple(event_shape)}, so x is "
            f"[batch, {', '.join(map(str, event_shape))}]. Reshape x, or give the observation family its shape."
        )


def check_prior(prior: object, latent: Family) -> None:
    """Refuses what is not a module that makes one distribution over the draws of `latent`."""
    remedy = "Pass a module whose forward() makes it, such as rp.LearnedPrior(latent) or zuko.flows.NSF(features=20)."
    if isinstance(prior, Distribution):
        raise TypeError(
            f"prior is a {type(prior).__name__}, a distribution, which has no parameters to train and would not follow "
            f"model.to(device). {remedy}"
        )
    if not isinstance(prior, nn.Module):
        raise TypeError(f"prior is {prior!r}; it must be None or an nn.Module. {remedy}")
    made = _made_in_eval_mode(prior, remedy)
    if not isinstance(made, Distribution):
        raise TypeError(f"prior is a module that makes a {type(made).__name__}; it must make a Distribution. {remedy}")
    if made.event_shape != latent.event_shape or made.batch_shape:
        raise ValueError(
            f"the prior has event shape {tuple(made.event_shape)} and batch shape {tuple(made.batch_shape)}; one draw "
            f"of {latent} has shape {tuple(latent.event_shape)}, and a prior has no batch axes. Wrap per-element "
            "distributions in torch.distributions.Independent, and give latent and prior one shape."
        )
    if _is_discrete(made) != _is_discrete(latent.member):
        has = {True: "probabilities of discrete values", False: "a density"}
        p, q = has[_is_discrete(made)], has[_is_discrete(latent.member)]
        raise ValueError(f"the prior has {p} and the latent {latent} has {q}: their ratio bounds nothing. {remedy}")


def _is_discrete(distribution: Distribution) -> bool:
    try:
        support: Any = distribution.support
    except NotImplementedError:  # a flow of zuko has none; it is a density
        return False
    return bool(getattr(support, "is_discrete", False))


def _made_in_eval_mode(prior: nn.Module, remedy: str) -> object:
    """One look at what `forward()` makes; batch norm of an encoder in it is not to take it for training."""
    flags = [(module, module.training) for module in prior.modules()]
    try:
        with torch.no_grad():
            return prior.eval()()
    except TypeError as error:
        raise TypeError(
            f"prior is {prior}, whose forward() cannot be called without arguments: {error}. {remedy}"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the prior cannot be made: {str(error).splitlines()[0]}. Its parts must fit together; the pseudo-inputs "
            "of a VampPrior are [M, *x]."
        ) from error
    finally:
        for module, training in flags:
            module.training = training
