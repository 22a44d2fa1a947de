"""Priors with parameters: modules whose `forward()`, without arguments, makes p(z).

That is zuko's protocol, whose flows over the latent's vector are priors as they are: `zuko.flows.NSF(features=20)`.
(Importing zuko turns off torch's validation of distributions for the whole process.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam import distributions
from reparam._checks import whole
from reparam._tensors import flat
from reparam.families import Bernoulli, Categorical, Family, Flow
from reparam.networks import masked_mlp


class LearnedPrior(nn.Module):
    """A member of the latent's family with learned parameters, at the start the standard one.

    The KL stays in closed form where the family has one between any two members. For a Gaussian latent with a linear
    first layer in the decoder the model is no richer, as that layer can take a shift and a scale; for a discrete
    latent, with learned probabilities, it is.

    Args:
        latent: the model's latent family.

    Raises:
        TypeError: no family, or a `Flow`, whose prior is one of its base.

    Example:
        >>> LearnedPrior(Bernoulli(3))().log_prob(torch.ones(3))
        tensor(-2.0794, grad_fn=<SumBackward1>)
    """

    takes_half = True

    def __init__(self, latent: Family) -> None:
        super().__init__()
        self.latent = _plain(latent)
        self.params = nn.Parameter(torch.zeros(latent.num_params))

    def forward(self) -> Distribution:
        return self.latent(self.params)

    def extra_repr(self) -> str:
        return f"{self.latent}"


class MixturePrior(nn.Module):
    """A mixture of members of the latent's family, all of their parameters and weights learned.

    Of a Gaussian latent it is a mixture of Gaussians. The components begin with equal weights around the standard
    member, their parameters drawn from N(0, 0.2^2), so that no two are the same.

    Args:
        latent: the model's latent family.
        num_components: M, at least 1.

    Raises:
        TypeError: no family, or a `Flow`, whose prior is one of its base.

    Reference:
        Dilokthanakul et al., Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders, 2016, arXiv
        1611.02648, for what such a prior is for.

    Example:
        >>> from reparam.families import Gaussian
        >>> MixturePrior(Gaussian(2), 5)().sample((7,)).shape
        torch.Size([7, 2])
    """

    takes_half = True

    def __init__(self, latent: Family, num_components: int) -> None:
        super().__init__()
        self.latent = _plain(latent)
        self.num_components = whole("num_components", num_components)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.params = nn.Parameter(0.2 * torch.randn(num_components, latent.num_params))

    def forward(self) -> Distribution:
        return distributions.Mixture(self.logits, self.latent(self.params), validate_args=False)

    def extra_repr(self) -> str:
        return f"{self.latent}, num_components={len(self.logits)}"


class VampPrior(nn.Module):
    """The posteriors at M learned pseudo-inputs, mixed evenly: `p(z) = mean over m of q(z|u_m)`.

    The best prior for the ELBO is the mean of the posteriors over the data, which this approaches with few of them. The
    encoder is the model's own, one module in two places: `parameters()` lists its weights once, a copy of the model
    keeps the sharing, a checkpoint names them twice. It is run on the pseudo-inputs at each `prior()`, and scoring N
    latents of D numbers takes N x M x D of memory.

    A pseudo-input stays between the smallest and the largest number of those given: what leaves that range is cut off.
    Under a plain cut (a clamp, a hard tanh) its gradient is zero from then on, and as most pixels begin at an end of
    the range, most stick there from their first step outwards: 88% after 240 steps on MNIST. So a gradient whose
    descent leads back into the range is passed on as it is, and only one that leads further out is set to zero.

    Args:
        latent: the model's latent family.
        encoder: the model's encoder, the same object.
        pseudo_inputs: where they start, `[M, *x]` floating point; examples, such as `data.train[:500]`, or noise.

    Raises:
        TypeError: no family, an encoder that is no module, pseudo-inputs that are no floating-point tensor.
        ValueError: pseudo-inputs that are not finite, or not `[M, *x]`.

    Reference:
        Tomczak, Welling, VAE with a VampPrior, 2017, arXiv 1705.07120, section 2.

    Example:
        >>> from reparam import Gaussian, VAE, mlp
        >>> latent, encoder = Gaussian(2), mlp(6, [8], 4)
        >>> prior = VampPrior(latent, encoder, torch.rand(10, 6))
        >>> model = VAE(latent, Bernoulli(6), encoder, mlp(2, [8], 6), prior=prior)
        >>> model.prior().sample((7,)).shape
        torch.Size([7, 2])
    """

    takes_half = True

    def __init__(self, latent: Family, encoder: nn.Module, pseudo_inputs: Tensor) -> None:
        super().__init__()
        _check_family(latent)
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"encoder is {encoder!r}; it must be the model's encoder, an nn.Module.")
        _check_pseudo_inputs(pseudo_inputs)
        like = next(encoder.parameters(), pseudo_inputs)
        pseudo_inputs = pseudo_inputs.detach().to(device=like.device, dtype=like.dtype, copy=True)
        self.latent = latent
        self.encoder = encoder
        self.pseudo_inputs = nn.Parameter(pseudo_inputs)
        self.register_buffer("low", pseudo_inputs.amin())
        self.register_buffer("high", pseudo_inputs.amax())

    low: Tensor
    high: Tensor

    def forward(self) -> Distribution:
        params = flat(self.encoder, self.within(), self.pseudo_inputs.dtype)
        return distributions.Mixture(params.new_zeros(len(params)), self.latent(params), validate_args=False)

    def within(self) -> Tensor:
        """The pseudo-inputs `[M, *x]`, cut off at the range of those it began with."""
        apply: Any = _Cut.apply  # has no types
        cut: Tensor = apply(self.pseudo_inputs, self.low, self.high)
        return cut

    def extra_repr(self) -> str:
        return f"{self.latent}, num_components={len(self.pseudo_inputs)}"


class _Cut(torch.autograd.Function):
    """A clamp for gradient descent: beyond an end, a gradient that leads back to the range passes."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward(u, low, high)
        return u.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        u, low, high = ctx.saved_tensors
        (gradient,) = gradients
        leads_out = ((u < low) & (gradient > 0)) | ((u > high) & (gradient < 0))
        return torch.where(leads_out, 0.0, gradient), None, None


class AutoregressivePrior(nn.Module):
    """Discrete variables of which each depends on those before it: `p(z) = product over d of p(z_d | z_1 ... z_{d-1})`.

    A masked network gives all conditionals at once, so that scoring is one pass; sampling is one for each variable.
    With enough hidden units it can become any distribution over the states. It begins as the standard member.

    There is no closed form of the KL, so take an estimator that samples it: RLOO, VIMCO, DisARM; or Enumerate.

    Args:
        latent: the model's latent family, Bernoulli or Categorical.
        hidden: widths of the network's hidden layers.

    Raises:
        TypeError: another family; widths that are no whole numbers.

    Reference:
        Larochelle, Murray, The Neural Autoregressive Distribution Estimator, AISTATS 2011; Germain, Gregor, Murray,
        Larochelle, MADE: Masked Autoencoder for Distribution Estimation, 2015, arXiv 1502.03509.

    Example:
        >>> prior = AutoregressivePrior(Bernoulli(20), hidden=[100])
        >>> prior().sample((7,)).shape
        torch.Size([7, 20])
    """

    takes_half = True

    def __init__(self, latent: Family, hidden: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(latent, Bernoulli | Categorical):
            raise TypeError(
                f"latent is {latent!r}; an AutoregressivePrior is over rp.Bernoulli or rp.Categorical. Of a continuous "
                "latent a flow is the counterpart: prior=zuko.flows.NSF(features=20)."
            )
        self.latent = latent
        self.hidden = hidden
        width = latent.num_categories if isinstance(latent, Categorical) else 1
        self.network = masked_mlp(latent.num_features // width, width, hidden)

    def forward(self) -> Distribution:
        start = next(self.network.parameters()).new_zeros(self.latent.event_shape)
        return distributions.Autoregressive(
            self._conditionals, start, event_dim=len(self.latent.event_shape), validate_args=False
        )

    def _conditionals(self, z: Tensor) -> Distribution:
        features = self.latent.features(z)
        return self.latent(self.network(features).to(features.dtype))  # mixed precision gives it in 16 bits

    def extra_repr(self) -> str:
        return f"{self.latent}"


def _check_family(latent: object) -> None:
    if not isinstance(latent, Family):
        raise TypeError(f"latent is {latent!r}; it must be the model's latent family, such as rp.Gaussian(20).")


def _plain(latent: Family) -> Family:
    _check_family(latent)
    flows = [part for part in latent.modules() if isinstance(part, Flow)] if isinstance(latent, nn.Module) else []
    if flows:
        raise TypeError(
            f"latent is {latent}, and the map of {flows[0]} is the posterior's; the prior would share it. Give the "
            f"prior its base: {flows[0].base}."
        )
    return latent


def _check_pseudo_inputs(pseudo_inputs: object) -> None:
    remedy = "Give examples, such as data.train[:500], or noise in the range of the data."
    if not isinstance(pseudo_inputs, Tensor) or not pseudo_inputs.is_floating_point():
        what = pseudo_inputs.dtype if isinstance(pseudo_inputs, Tensor) else f"a {type(pseudo_inputs).__name__}"
        raise TypeError(f"pseudo_inputs is {what}; it must be a floating-point tensor [M, *x]. {remedy}")
    if pseudo_inputs.dim() < 2 or len(pseudo_inputs) == 0:
        raise ValueError(
            f"pseudo_inputs have shape {tuple(pseudo_inputs.shape)}; they must be [M, *x], M >= 1. {remedy}"
        )
    if not pseudo_inputs.is_meta and not pseudo_inputs.isfinite().all():
        raise ValueError(f"pseudo_inputs hold NaN or Inf. {remedy}")
