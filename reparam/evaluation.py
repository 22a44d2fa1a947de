"""Evaluation: exact model and data in; bounds with standard errors out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam._checks import whole
from reparam._ranks import derived_seed, shared_out
from reparam._tensors import log_mean_exp, unwrap
from reparam.batches import AnyData, ForeignBatches, batches_for
from reparam.data import Batches
from reparam.distributions import VonMises
from reparam.draws import score
from reparam.estimators import Estimator
from reparam.hierarchy import Chain
from reparam.inspection import (
    check_exact,
    check_model,
    device_and_dtype,
    evaluating,
    own_random_numbers,
)
from reparam.model import LatentVariableModel
from reparam.not_finite import NotFinite, broken_part, faults_named, not_finite
from reparam.relaxation import RelaxedModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_Measured = tuple[Tensor, Tensor | None]  # a column for each example of a batch; the posterior's means


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
        log_likelihood: log p(x) from the same K weights, their bias of order 1/K removed by the jackknife. An estimate,
            not a bound; trust it where it is close to `iwae`.
        rate: mean of log q(z|x) - log p(z), an estimate of KL(q || p).
        distortion: mean of -log p(x|z); `elbo = -rate - distortion`.
        active_units: latent variables whose posterior mean varies over the data by more than 0.01 (variance); None
            where the posterior has no mean in closed form.
        num_samples: K.
        num_examples: N.

    Reference:
        Burda, Grosse, Salakhutdinov, 2015, arXiv 1509.00519, equation 8 and section 5.2 (active units); Nowozin,
        Debiasing Evidence Approximations: On Importance-weighted Autoencoders and Jackknife Variational Inference,
        ICLR 2018 (log_likelihood).
    """

    elbo: Measurement
    iwae: Measurement
    log_likelihood: Measurement
    rate: Measurement
    distortion: Measurement
    active_units: int | None
    num_samples: int
    num_examples: int


def evaluate(
    model: LatentVariableModel,
    data: AnyData,
    *,
    num_samples: int = 100,
    batch_size: int = 128,
    max_rows: int = 4096,
    seed: int = 0,
    fabric: Fabric | None = None,
) -> Evaluation:
    """Bounds and estimates of log p(x) under the exact model, each with its errors; hard latents only.

    The model is put in eval mode meanwhile, and no random number of the surrounding program is used up.

    Args:
        model: the exact model; a relaxed one is refused.
        data: `Data`, a tensor, an array, or an iterable of batches. "dynamic" data draw fresh bits;
            `mnist("dynamic").test` is fixed already.
        num_samples: K, the draws of z for each example.
        batch_size: examples at a time.
        max_rows: most pairs of example and sample that are decoded at once: the networks' memory grows with this and
            not with K, of which only some numbers for each pair of one batch are kept.
        seed: of the draws.
        fabric: a launched `lightning_fabric.Fabric`, whose processes share the batches; all of them must call this,
            with the same data, and all get the same answer.

    Returns:
        An `Evaluation`: means over the examples in nats, larger is better, each with its errors.

    Raises:
        TypeError: a relaxed model.
        ValueError: data outside the support of the likelihood; NaN in the model's parameters or in a bound; a
            distribution that cannot be built from what the networks give. The message names the parameter or the term.

    Example:
        >>> from reparam import Gaussian, VAE, mlp
        >>> model = VAE(Gaussian(2), Gaussian(3), mlp(3, [8], 4), mlp(2, [8], 6))
        >>> found = evaluate(model, torch.randn(50, 3), num_samples=20)
        >>> found.elbo.value < found.iwae.value
        True
    """
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size), ("max_rows", max_rows)):
        whole(name, value)
    if isinstance(model, RelaxedModel):
        raise TypeError(
            "evaluate takes the exact model and received a relaxed one, whose bounds are not those of the discrete "
            "model. Pass the model that was relaxed: relaxed_model.exact."
        )
    check_model(model)
    if (broken := broken_part(model)) is not None:
        raise NotFinite(f"{broken} of the model holds NaN or Inf, so no bound can be computed.")
    batches = batches_for(model, data, min(batch_size, max_rows))
    with evaluating(model, seed):
        if fabric is None or fabric.world_size == 1:
            measured = [_measured(model, x, number, num_samples, max_rows) for number, x in enumerate(batches)]
        else:
            _check_undivided(batches)
            device = device_and_dtype(model)[0]

            def work(number: int, x: Tensor) -> _Measured:
                """With noise of the batch's own: which process takes it, and what others draw, makes no difference."""
                with own_random_numbers(device, derived_seed(str(seed).encode(), number)):
                    return _measured(model, x, number, num_samples, max_rows)

            measured = shared_out(fabric, batches, work)
    if not measured:
        raise ValueError("data gave no batch; there is nothing to evaluate.")
    table = torch.cat([columns for columns, _ in measured], 1)
    means = [mean for _, mean in measured if mean is not None]
    elbo, iwae, log_likelihood, rate, distortion = (_measure(*pair) for pair in table.split(2))
    active_units = _active_units(torch.cat(means)) if means else None
    return Evaluation(elbo, iwae, log_likelihood, rate, distortion, active_units, num_samples, table.shape[1])


def _measured(model: LatentVariableModel, x: Tensor, number: int, num_samples: int, max_rows: int) -> _Measured:
    """What is kept of batch `number`."""
    with faults_named(model, x, f"a bound cannot be computed in batch {number}: "):
        if number == 0:
            check_exact(model, x)
        log_p, log_ratio, mean = _score_samples(model, x, num_samples, max_rows)
    columns = _per_example(log_p, log_ratio)
    if columns[0::2].isnan().any():
        term = not_finite(model, x) or "every term is finite on another draw"
        raise NotFinite(f"a bound is NaN in batch {number}: {term}.")
    return columns, mean


def _check_undivided(batches: Batches | ForeignBatches) -> None:
    if isinstance(batches, ForeignBatches) and batches.sampler is not None:
        raise ValueError(
            "data is a DataLoader with a DistributedSampler, and evaluate shares the batches out itself. Pass one "
            "that gives every process the same batches."
        )


def _score_samples(
    model: LatentVariableModel, x: Tensor, num_samples: int, max_rows: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """log p(x|z) and log q(z|x) - log p(z), each `[K, B]` in float64 on the CPU; the posterior's mean `[B, units]`."""
    posterior = model.posterior(x)
    chunk = max(1, max_rows // len(x))
    log_likelihoods, log_ratios = [], []
    for start in range(0, num_samples, chunk):
        z = posterior.sample((min(chunk, num_samples - start),))
        samples = score(model, x, z, posterior)
        log_likelihoods.append(samples.log_likelihood.cpu().double())
        log_ratios.append((samples.log_posterior - samples.log_prior).cpu().double())
    return torch.cat(log_likelihoods), torch.cat(log_ratios), _posterior_mean(posterior)


def _posterior_mean(posterior: Distribution) -> Tensor | None:
    """The mean of each latent variable, `[B, variables, C]`: C is 1, or more where some of them are one-hot."""
    if isinstance(posterior, Chain):
        found = [_posterior_mean(posterior.member(name)) for name in posterior.families] if posterior.is_product else []
        means = [mean for mean in found if mean is not None]
        if not means or len(means) < len(found):
            return None
        width = max(mean.shape[-1] for mean in means)
        return torch.cat([F.pad(mean, (0, width - mean.shape[-1])) for mean in means], 1)
    try:
        mean = posterior.mean.cpu().double()
    except NotImplementedError:
        return None
    base = unwrap(posterior)[0]
    if isinstance(base, VonMises):  # an angle's mean says nothing where the angle is free; that of its vector does
        length, angle = (1 - base.variance).cpu().double(), mean
        mean = torch.stack([length * angle.cos(), length * angle.sin()], -1)
        return mean.reshape(len(mean), -1, 2)
    one_hot = base.support is constraints.one_hot
    return mean.reshape(len(mean), -1, mean.shape[-1] if one_hot else 1)


def _per_example(log_likelihood: Tensor, log_ratio: Tensor) -> Tensor:
    """Rows of value and squared Monte Carlo error, in the order of `Evaluation`'s measurements; a column an example."""
    log_weight = log_likelihood - log_ratio
    debiased, squared_error = _jackknife(log_weight)
    bounds = torch.stack([log_mean_exp(log_weight), squared_error, debiased, squared_error])
    return torch.cat([_mean(log_weight), bounds, _mean(log_ratio), _mean(-log_likelihood)])


def _mean(values: Tensor) -> Tensor:
    """The mean over the K samples and its squared error, `[2, B]`."""
    error = values.var(0) / len(values) if len(values) > 1 else torch.full_like(values[0], math.nan)
    return torch.stack([values.mean(0), error])


def _jackknife(log_weight: Tensor) -> tuple[Tensor, Tensor]:
    """log mean weight without its bias of order 1/K, and the squared error of either; each `[B]`.

    From the bound `L` of all K weights and the K bounds `L_k` that leave one out: `K L - (K - 1) mean L_k`.
    """
    num_samples = len(log_weight)
    if num_samples == 1:
        return log_weight[0], torch.full_like(log_weight[0], math.nan)
    share = log_weight.softmax(0)
    # The others' share is 1 - share; where one weight is nearly all, that has no digits left, so they are added up.
    top = share.argmax(0, keepdim=True)
    others = (1 - share).scatter(0, top, share.scatter(0, top, 0.0).sum(0, keepdim=True))
    log_total = log_weight.logsumexp(0)
    left_out = log_total + others.clamp_min(torch.finfo(others.dtype).tiny).log() - math.log(num_samples - 1)
    bound = log_total - math.log(num_samples)
    squared_error = (left_out - left_out.mean(0)).square().sum(0) * (num_samples - 1) / num_samples
    debiased = num_samples * bound - (num_samples - 1) * left_out.mean(0)
    # A mean is no larger than its largest term; an extrapolation beyond that only says that one weight rules.
    return debiased.minimum(log_weight.amax(0)), squared_error


def _measure(values: Tensor, squared_errors: Tensor) -> Measurement:
    n = len(values)
    spread = values.std().item() / math.sqrt(n) if n > 1 else math.nan
    return Measurement(values.mean().item(), spread, squared_errors.sum().sqrt().item() / n)


def _active_units(means: Tensor) -> int | None:
    if len(means) < 2 or not means.isfinite().all():
        return None
    return int((means.var(0).amax(-1) > 0.01).sum())


def mean_loss(
    model: LatentVariableModel,
    estimator: Estimator,
    data: AnyData,
    *,
    batch_size: int = 128,
) -> float:
    """The estimator's own loss over the data, in nats per example: what a training curve shows, on other data.

    Whether the number is a bound of anything is for the estimator's `Estimate.name` to say. With a "surrogate" it is
    not; it serves to compare with the literature. It draws from the surrounding random numbers.
    """
    batches = batches_for(model, data, batch_size)
    with evaluating(model):
        bounds = [estimator(model, x).bound.cpu().double() for x in batches]
    if not bounds:
        raise ValueError("data gave no batch; there is no loss to average.")
    return -torch.cat(bounds).mean().item()
