"""What an experiment names, built."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from reparam._checks import Shape
from reparam._spelling import argument, setting
from reparam.adam import AnyOptimizer, adam_for
from reparam.data import Data
from reparam.experiment.config import Experiment, ModelOptions
from reparam.experiment.texts import Layers, latent_of, observation_of
from reparam.experiment.texts import build_estimator as build_estimator
from reparam.experiment.texts import build_lr as build_lr
from reparam.families import Bernoulli, Family
from reparam.hierarchy import Hierarchy, Ladder
from reparam.model import VAE
from reparam.networks import Log1p, conv_decoder, conv_encoder, gated_mlp, mlp
from reparam.priors import LearnedPrior, MixturePrior, VampPrior

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}
_SGD_MOMENTUM = 0.9


def build_model(experiment: Experiment, data: Data) -> VAE | Hierarchy | Ladder:
    """The untrained model, on the CPU.

    Its observations have the shape of one example of `data`: "conv" takes examples (C, H, W), the other networks any
    shape, which they flatten. Random numbers are drawn for the encoder first, then the decoder, then the prior, so
    that `torch.manual_seed` before it gives the weights of the scripts.

    Args:
        experiment: of which the `model` options are read.
        data: the training data, for their shape, for the mean if `output_bias`, for examples if the prior is "vamp".

    Returns:
        A `VAE`; of a latent such as `Hierarchy(Gaussian(50), Gaussian(20))` that model of several layers, in which each
        network has the hidden layers of the options.

    Raises:
        ValueError: a family that is none, or does not fit the data; a network that does not take their shape.
    """
    options, event_shape = experiment.model, tuple(data.values.shape[1:])
    shape: Shape = event_shape if len(event_shape) > 1 else event_shape[0]
    latent = latent_of(experiment)
    observation = observation_of(experiment, shape)
    if options.output_bias and not isinstance(observation, Bernoulli):
        raise ValueError(
            f"{argument('output_bias')} begins the decoder at log-odds, and the observation is {observation}. Leave "
            f"{argument('output_bias')} out, or take {setting('observation', 'Bernoulli')}."
        )
    bias = data.mean_logits() if options.output_bias else None
    if isinstance(latent, Layers):
        return _layered(options, latent, observation, shape, bias, data)
    encoder, decoder = _networks(options, latent, observation, shape, bias)
    encoder = _behind_input(options, encoder, data)
    return VAE(latent, observation, encoder, decoder, prior=_prior(options, latent, encoder, data))


def build_optimizer(experiment: Experiment, model: nn.Module) -> AnyOptimizer:
    """The optimiser of the model's parameters, fused where torch has that. Make it when the model is where it stays.

    Its rate is `lr` if that is a number; a schedule is to be followed by the loop, which sets the rate of each step.

    Raises:
        ValueError: a learning rate that `build_lr` refuses; a model without a parameter that requires a gradient.
    """
    options = experiment.training
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no parameter that requires a gradient, so there is nothing to train.")
    rate = build_lr(experiment, num_steps=1_000_000)  # a number does not depend on them
    lr = 1e-3 if callable(rate) else rate
    if options.optimizer == "sgd":
        decay = options.weight_decay
        return torch.optim.SGD(parameters, lr=lr, momentum=_SGD_MOMENTUM, weight_decay=decay)
    return adam_for(
        parameters,
        lr,
        eps=options.adam_eps,
        weight_decay=options.weight_decay,
        decoupled=options.optimizer == "adamw",
    )


def _behind_input(options: ModelOptions, encoder: nn.Module, data: Data) -> nn.Module:
    """The encoder of x, behind log(1 + x) if that is asked for."""
    if options.encoder_input == "x":
        return encoder
    least = data.extremes()[0].item()
    if least < 0:
        raise ValueError(
            f"{argument('encoder_input')} is log1p, and the data hold {least:g}; it takes numbers from 0. Leave it out."
        )
    return nn.Sequential(Log1p(), encoder)


def _networks(
    options: ModelOptions, latent: Family, observation: Family, shape: Shape, bias: torch.Tensor | None
) -> tuple[nn.Module, nn.Module]:
    """The encoder, then the decoder: the order in which their weights are drawn."""
    widths, reverse = list(options.hidden), list(reversed(options.hidden))
    sizes = (latent.num_params, latent.num_features, observation.num_params)
    activation = _ACTIVATIONS[options.activation]
    if options.network == "conv":
        if not isinstance(shape, tuple) or len(shape) != 3:
            raise ValueError(
                f"{argument('network')} is conv, and an example has the shape {shape}; it must be an image (C, H, W). "
                f"Give the data that shape, such as {setting('shape', (1, 28, 28))}, or take "
                f"{setting('network', 'mlp')}."
            )
        encoder = conv_encoder(shape, sizes[0], channels=widths, activation=activation)
        return encoder, conv_decoder(
            sizes[1], shape, sizes[2], channels=reverse, activation=activation, output_bias=bias
        )
    dense = _dense(options)
    return dense(shape, widths, sizes[0]), dense(sizes[1], reverse, sizes[2], output_bias=bias)


def _dense(options: ModelOptions) -> Callable[..., nn.Module]:
    if options.network == "gated_mlp":
        return gated_mlp
    return partial(mlp, activation=_ACTIVATIONS[options.activation])


def _layered(
    options: ModelOptions,
    layers: Layers,
    observation: Family,
    shape: Shape,
    bias: torch.Tensor | None,
    data: Data,
) -> Hierarchy | Ladder:
    """The model of several layers: each of its encoders and decoders has the hidden layers of the options."""
    kind, latents = layers.kind, layers.latents
    for name, value, taken in (("network", "conv", ("mlp", "gated_mlp")), ("prior", "vamp", ("standard", "learned"))):
        if getattr(options, name) == value:
            raise ValueError(
                f"{argument(name)} is {value}, which a {kind.__name__} does not take. Take {setting(name, taken[0])} "
                f"or {setting(name, taken[1])}; in Python rp.{kind.__name__} takes any networks."
            )
    dense, widths, reverse = _dense(options), list(options.hidden), list(reversed(options.hidden))
    top = latents[-1]
    lower: list[Family] = [observation, *latents[:-1]]
    corrections: list[nn.Module] = []
    if kind is Ladder:
        width = widths[-1] if widths else top.num_params
        inputs: list[Shape] = [shape, *[width for _ in latents[1:]]]
        encoders = [dense(below, widths, width) for below in inputs]
        corrections = [nn.Linear(width, each.num_params) for each in latents]
    else:
        inputs = [shape, *[each.num_features for each in latents[:-1]]]
        encoders = [dense(below, widths, each.num_params) for below, each in zip(inputs, latents, strict=True)]
    encoders[0] = _behind_input(options, encoders[0], data)
    biases = [bias, *[None for _ in latents[1:]]]
    decoders = [
        dense(each.num_features, reverse, below.num_params, output_bias=start)
        for each, below, start in zip(latents, lower, biases, strict=True)
    ]
    prior = _prior_of(options, top)
    if kind is Ladder:
        return Ladder(latents, observation, encoders, corrections, decoders, prior=prior)
    return Hierarchy(latents, observation, encoders, decoders, prior=prior)


def _prior(options: ModelOptions, latent: Family, encoder: nn.Module, data: Data) -> nn.Module | None:
    if options.prior != "vamp":
        return _prior_of(options, latent)
    if len(data) < options.prior_components:
        raise ValueError(
            f"{argument('prior_components')} is {options.prior_components}, and there are {len(data)} training "
            f"examples for the pseudo-inputs to begin as. Give {setting('prior_components', len(data))} or fewer."
        )
    return VampPrior(latent, encoder, data[: options.prior_components])


def _prior_of(options: ModelOptions, latent: Family) -> nn.Module | None:
    """The priors that need no encoder."""
    if options.prior == "learned":
        return LearnedPrior(latent)
    return MixturePrior(latent, options.prior_components) if options.prior == "mixture" else None
