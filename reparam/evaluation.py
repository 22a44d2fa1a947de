"""Evaluation: exact model and data in; bounds with standard errors out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from reparam._checks import whole
from reparam._tensors import log_mean_exp, unwrap
from reparam.bounds import score
from reparam.data import Data, as_data
from reparam.estimators import Estimator
from reparam.model import LatentVariableModel
from reparam.relaxation import RelaxedModel, is_relaxed


@dataclass(frozen=True)
class Measurement:
    """A mean over examples, in nats per example.

    Attributes:
        value: the mean.
        standard_error: of the mean as a statement about the population the examples come from.
        monte_carlo_error: of the mean as a statement about these very examples: the part that more samples of z would
            remove. NaN for a single sample.
    """

    value: float
    standard_error: float
    monte_carlo_error: float

    def __str__(self) -> str:
        return f"{self.value:.4f} +/- {self.standard_error:.4f}"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found, in nats per example.

    Attributes:
        elbo: mean of log w; a lower bound of log p(x) in expectation.
        iwae: the importance-weighted bound with K = `num_samples`; a tighter lower bound in expectation.
        log_likelihood: log p(x) from the same K weights with the bias removed to first order in 1/K (delta method). An
            estimate, not a bound; trust it where it is close to `iwae`.
        rate: mean of log q(z|x) - log p(z), an estimate of KL(q || p).
        distortion: mean of -log p(x|z); `elbo = -rate - distortion`.
        active_units: latent variables whose posterior mean varies over the data by more than 0.01 (variance); None
            where the posterior has no mean in closed form.
        num_samples: K.
        num_examples: N.

    Reference:
        Burda, Grosse, Salakhutdinov, 2015, arXiv 1509.00519, equation 8 and section 5.2 (active units); Nowozin,
        Debiasing Evidence Approximations, ICLR 2018 (delta method).
    """

    elbo: Measurement
    iwae: Measurement
    log_likelihood: Measurement
    rate: Measurement
    distortion: Measurement
    active_units: int | None
    num_samples: int
    num_examples: int


@contextmanager
def evaluating(model: Any, seed: int | None = None) -> Iterator[None]:
    """Without gradients, in eval mode; with a `seed` also with its own random numbers. All is put back afterwards."""
    training = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    device = device_and_dtype(model)[0]
    devices = [device] if device.type not in ("cpu", "meta") else []
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices, enabled=seed is not None, device_type=device.type if devices else "cuda"),
    ):
        if seed is not None:
            torch.manual_seed(seed)
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True


def device_and_dtype(model: Any) -> tuple[torch.device, torch.dtype]:
    """Where the model lives, and in which precision: those of its first floating-point parameter."""
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            if parameter.is_floating_point():
                return parameter.device, parameter.dtype
    return torch.device("cpu"), torch.get_default_dtype()


def check_exact(model: LatentVariableModel, x: Tensor) -> None:
    """Refuses a model with a relaxed latent: a bound of it says nothing about the discrete model."""
    if isinstance(model, RelaxedModel):
        raise TypeError(
            "evaluate takes the exact model and received a relaxed one, whose bounds are not those of the discrete "
            "model. "
            "Pass the model that was relaxed: relaxed_model.exact."
        )
    for name, distribution in (("prior", model.prior()), ("posterior", model.posterior(x))):
        if is_relaxed(distribution):
            raise TypeError(
                f"the model's {name} is a {type(unwrap(distribution)[0]).__name__}, a relaxed distribution: bounds "
                "of this "
                "model are not those of the discrete one. Give it Bernoulli or OneHotCategorical, and train with "
                "Relaxed."
            )


def check_data(model: LatentVariableModel, data: Data) -> None:
    """Refuses data that the model's likelihood gives no probability, with the first offender."""
    with evaluating(model, seed=0):
        x = data.values[:1].to(data.dtype)
        likelihood = model.likelihood(model.posterior(x).sample((1,)))
        support: Any = likelihood.support
        if support is None or constraints.is_dependent(support):
            return
        scale = 255 if data.values.dtype == torch.uint8 else 1
        for start in range(0, len(data), 4096):
            block = data.values[start : start + 4096].to(data.dtype) / scale
            inside = support.check(block).reshape(len(block), -1).all(-1)
            if not inside.all():
                offender = int((~inside).nonzero()[0])
                low, high = block[offender].min().item(), block[offender].max().item()
                raise ValueError(
                    f"example {start + offender} has values from {low:g} to {high:g}, outside the support of the "
                    "likelihood "
                    f"{type(unwrap(likelihood)[0]).__name__} ({unwrap(likelihood)[0].support}). "
                    "Rescale the data, or choose an observation family with that support, such as Gaussian."
                )


def evaluate(
    model: LatentVariableModel,
    data: Data | Tensor | np.ndarray[Any, Any],
    *,
    num_samples: int = 100,
    batch_size: int = 128,
    max_rows: int = 4096,
    seed: int = 0,
) -> Evaluation:
    """Bounds and estimates of log p(x) under the exact model, each with its errors; hard latents only.

    The model is put in eval mode meanwhile, and no random number of the surrounding program is used up.

    Args:
        model: the exact model; a relaxed one is refused.
        data: what to evaluate on. "dynamic" data draw fresh bits; `mnist("dynamic").test` is fixed already.
        num_samples: K, the draws of z for each example.
        batch_size: examples at a time.
        max_rows: most pairs of example and sample that are decoded at once; memory grows with this, not with K.
        seed: of the draws.

    Raises:
        TypeError: a relaxed model.
        ValueError: data outside the support of the likelihood.
    """
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size), ("max_rows", max_rows)):
        whole(name, value)
    device, dtype = device_and_dtype(model)
    examples = as_data(data, dtype).to(device)
    check_data(model, examples)
    columns: list[Tensor] = []
    means: list[Tensor] = []
    with evaluating(model, seed):
        check_exact(model, examples[:1])
        for x in examples.batches(batch_size):
            terms, mean = _log_weight_terms(model, x, num_samples, max_rows)
            columns.append(_per_example(*terms))
            if mean is not None:
                means.append(mean)
    table = torch.cat(columns, 1)
    elbo, iwae, log_likelihood, rate, distortion = (_measure(*pair) for pair in table.split(2))
    active_units = _active_units(means)
    return Evaluation(elbo, iwae, log_likelihood, rate, distortion, active_units, num_samples, len(examples))


def _log_weight_terms(
    model: LatentVariableModel, x: Tensor, num_samples: int, max_rows: int
) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
    """log p(x|z) and log q(z|x) - log p(z), each `[K, B]` in float64 on the CPU; the posterior's mean per variable."""
    posterior = model.posterior(x)
    chunk = max(1, max_rows // len(x))
    log_likelihoods, log_ratios = [], []
    for start in range(0, num_samples, chunk):
        z = posterior.sample((min(chunk, num_samples - start),))
        samples = score(model, x, z, posterior)
        log_likelihoods.append(samples.log_likelihood.cpu().double())
        log_ratios.append((samples.log_posterior - samples.log_prior).cpu().double())
    try:
        mean = posterior.mean.cpu().double()
    except NotImplementedError:
        return (torch.cat(log_likelihoods), torch.cat(log_ratios)), None
    variable_axes = len(unwrap(posterior)[0].event_shape)
    return (torch.cat(log_likelihoods), torch.cat(log_ratios)), mean.flatten(1, -1 - variable_axes)


def _per_example(log_likelihood: Tensor, log_ratio: Tensor) -> Tensor:
    """Rows of value, squared Monte Carlo error, in the order of `Evaluation`'s measurements; a column an example."""
    num_samples = len(log_ratio)
    log_weight = log_likelihood - log_ratio
    bound = log_mean_exp(log_weight)
    # relative variance of the mean weight, from the normalised weights; at most 1
    share = (log_weight - log_weight.amax(0)).softmax(0)
    relative_variance = (share.square().sum(0) - 1 / num_samples) * num_samples / max(num_samples - 1, 1)
    iwae_error = relative_variance if num_samples > 1 else torch.full_like(bound, math.nan)

    def mean_and_error(values: Tensor) -> list[Tensor]:
        error = values.var(0) / num_samples if num_samples > 1 else torch.full_like(bound, math.nan)
        return [values.mean(0), error]

    return torch.stack(
        [
            *mean_and_error(log_weight),
            *(bound, iwae_error),
            *(bound + relative_variance / 2, iwae_error),
            *mean_and_error(log_ratio),
            *mean_and_error(-log_likelihood),
        ]
    )


def _measure(values: Tensor, squared_errors: Tensor) -> Measurement:
    n = len(values)
    spread = values.std().item() / math.sqrt(n) if n > 1 else math.nan
    return Measurement(values.mean().item(), spread, squared_errors.sum().sqrt().item() / n)


def _active_units(means: list[Tensor]) -> int | None:
    if not means:
        return None
    variance = torch.cat(means).var(0)  # [variables] or, for one-hot variables, [variables, categories]
    return int((variance.flatten(1).amax(-1) if variance.dim() > 1 else variance).gt(0.01).sum())


def mean_loss(
    model: LatentVariableModel,
    estimator: Estimator,
    data: Data | Tensor | np.ndarray[Any, Any],
    *,
    batch_size: int = 128,
) -> float:
    """The estimator's own loss over the data, in nats per example: what a training curve shows, on other data.

    Whether the number is a bound of anything is for the estimator's `Estimate.name` to say. With a "surrogate" it is
    not; it serves to compare with the literature. It draws from the surrounding random numbers.
    """
    device, dtype = device_and_dtype(model)
    examples = as_data(data, dtype).to(device)
    with evaluating(model):
        total = sum(estimator(model, x).bound.cpu().double().sum() for x in examples.batches(batch_size))
    return -float(total) / len(examples)
