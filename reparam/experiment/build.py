"""What an experiment names, built."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import nn

from reparam._checks import Shape, positive
from reparam.adam import AnyOptimizer, adam_for
from reparam.data import Data
from reparam.estimators import Estimator
from reparam.experiment.config import Experiment, ModelOptions
from reparam.expressions import parse
from reparam.families import Bernoulli, Family
from reparam.model import VAE
from reparam.networks import Log1p, conv_decoder, conv_encoder, gated_mlp, mlp
from reparam.priors import LearnedPrior, MixturePrior, VampPrior
from reparam.schedules import Schedule, cosine, exponential, geometric, linear

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}
_SGD_MOMENTUM = 0.9


def build_model(experiment: Experiment, data: Data) -> VAE:
    """The untrained model, on the CPU.

    Its observations have the shape of one example of `data`: "conv" takes examples (C, H, W), the other networks any
    shape, which they flatten. Random numbers are drawn for the encoder first, then the decoder, then the prior, so
    that `torch.manual_seed` before it gives the weights of the scripts.

    Args:
        experiment: of which the `model` options are read.
        data: the training data, for their shape, for the mean if `output_bias`, for examples if the prior is "vamp".

    Raises:
        ValueError: a family that is none, or does not fit the data; a network that does not take their shape.
    """
    options, event_shape = experiment.model, tuple(data.values.shape[1:])
    shape: Shape = event_shape if len(event_shape) > 1 else event_shape[0]
    latent = _family("latent", options.latent)
    observation = _observation(options.observation, shape)
    if options.output_bias and not isinstance(observation, Bernoulli):
        raise ValueError(
            f"output_bias begins the decoder at log-odds, and the observation is {observation}. Leave it out, or take "
            "Bernoulli."
        )
    bias = data.mean_logits() if options.output_bias else None
    encoder, decoder = _networks(options, latent, observation, shape, bias)
    if options.encoder_input == "log1p":
        encoder = nn.Sequential(_log1p_of(data), encoder)
    return VAE(latent, observation, encoder, decoder, prior=_prior(options, latent, encoder, data))


def build_estimator(experiment: Experiment, num_steps: int) -> Estimator:
    """The estimator, for a training of so many optimiser steps; one with networks of its own draws random numbers.

    Raises:
        ValueError: a text that is no estimator.
    """
    text = experiment.training.estimator
    estimator = parse(text, steps=num_steps)
    if not isinstance(estimator, Estimator):
        raise ValueError(f"estimator is {text!r}; it must be an estimator such as RLOO(4).")
    return estimator


def build_lr(experiment: Experiment, num_steps: int) -> float | Schedule:
    """The learning rate, for a training of so many optimiser steps: a number, or a schedule of the step.

    Raises:
        ValueError: a text that is neither, a number that is not above 0.
    """
    text = experiment.training.lr
    lr = parse(text, steps=num_steps)
    if isinstance(lr, exponential | linear | geometric | cosine):
        return lr
    if isinstance(lr, bool) or not isinstance(lr, int | float) or re.search(r"\bsteps\b", text):
        raise ValueError(f"lr is {text!r}; it must be a number or a schedule such as cosine(5e-3, steps, warmup=500).")
    return positive("lr", lr)


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


def _log1p_of(data: Data) -> Log1p:
    least = data.extremes()[0].item()
    if least < 0:
        raise ValueError(f"encoder_input is log1p, and the data hold {least:g}; it takes numbers from 0. Leave it out.")
    return Log1p()


def _family(name: str, text: str, shape: Shape | None = None) -> Family:
    family = parse(text) if shape is None else parse(text, shape=shape)
    if not isinstance(family, Family):
        raise ValueError(f"{name} is {text!r}; it must be a family such as Gaussian(20) or Bernoulli(20).")
    return family


def _observation(text: str, shape: Shape) -> Family:
    """The family with the shape of the data, which stands first where the text does not name it."""
    name, _, rest = text.strip().partition("(")
    filled = text if re.search(r"\bshape\b", text) else f"{name}(shape, {rest or ')'}"
    try:
        family = _family("observation", filled, shape)
    except ValueError as error:
        try:
            family = _family("observation", text)  # somebody gave the shape as well
        except ValueError:
            raise error from None
    if family.event_shape != torch.Size(shape if isinstance(shape, tuple) else (shape,)):
        raise ValueError(
            f"observation is {text!r}, of shape {tuple(family.event_shape)}, and an example has the shape {shape}. "
            "Leave the shape out: Bernoulli, or Gaussian(scale=0.1)."
        )
    return family


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
                f"network is conv, and an example has the shape {shape}; it must be an image (C, H, W). Load the data "
                "in that shape, as rp.mnist(shape=(1, 28, 28)) does, or take mlp."
            )
        encoder = conv_encoder(shape, sizes[0], channels=widths, activation=activation)
        return encoder, conv_decoder(
            sizes[1], shape, sizes[2], channels=reverse, activation=activation, output_bias=bias
        )
    if options.network == "gated_mlp":
        return gated_mlp(shape, widths, sizes[0]), gated_mlp(sizes[1], reverse, sizes[2], output_bias=bias)
    return mlp(shape, widths, sizes[0], activation), mlp(sizes[1], reverse, sizes[2], activation, output_bias=bias)


def _prior(options: ModelOptions, latent: Family, encoder: nn.Module, data: Data) -> nn.Module | None:
    if options.prior == "learned":
        return LearnedPrior(latent)
    if options.prior == "mixture":
        return MixturePrior(latent, options.prior_components)
    if options.prior == "vamp":
        if len(data) < options.prior_components:
            raise ValueError(
                f"prior_components is {options.prior_components}, and there are {len(data)} training examples for the "
                "pseudo-inputs to begin as. Ask for fewer."
            )
        return VampPrior(latent, encoder, data[: options.prior_components])
    return None
