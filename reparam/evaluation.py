"""Evaluation: exact model and data in; bounds with standard errors out."""

from __future__ import annotations

import math
import warnings
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
from reparam.importance import FEWEST, jackknife, pareto_k, reliable_below
from reparam.inspection import (
    check_exact,
    check_model,
    device_and_dtype,
    evaluating,
    own_random_numbers,
)
from reparam.measurement import Evaluation, Measurement, UnreliableWeights
from reparam.model import LatentVariableModel
from reparam.not_finite import NotFinite, broken_part, faults_named, not_finite
from reparam.relaxation import RelaxedModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_Measured = tuple[Tensor, Tensor | None]  # a column for each example of a batch; the posterior's means


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

    Warns:
        UnreliableWeights: from 100 samples on, if `Evaluation.unreliable` is more than one half.

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
    elbo, iwae, log_likelihood, rate, distortion = (_measure(*pair) for pair in table[:-1].split(2))
    active_units = _active_units(torch.cat(means)) if means else None
    k, unreliable = _reliability(table[-1], num_samples)
    if unreliable is not None and unreliable > 0.5 and (fabric is None or fabric.is_global_zero):
        warnings.warn(
            f"the importance weights of most examples have too heavy a tail for {num_samples} samples (Pareto's k is "
            f"above {reliable_below(num_samples):.2f}): log_likelihood may be too low by far more than its error. "
            "Report iwae, which is a lower bound whatever the tail.",
            UnreliableWeights,
            stacklevel=2,
        )
    return Evaluation(
        elbo, iwae, log_likelihood, rate, distortion, k, unreliable, active_units, num_samples, table.shape[1]
    )


def _measured(model: LatentVariableModel, x: Tensor, number: int, num_samples: int, max_rows: int) -> _Measured:
    """What is kept of batch `number`."""
    with faults_named(model, x, f"a bound cannot be computed in batch {number}: "):
        if number == 0:
            check_exact(model, x)
        log_p, log_ratio, mean = _score_samples(model, x, num_samples, max_rows)
    columns = _per_example(log_p, log_ratio)
    if columns[:-1:2].isnan().any():
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
    """Rows of value and squared Monte Carlo error, in the order of `Evaluation`'s measurements, then Pareto's k."""
    log_weight = log_likelihood - log_ratio
    log_p, error_of_log_p, error_of_bound = jackknife(log_weight)
    bounds = torch.stack([log_mean_exp(log_weight), error_of_bound, log_p, error_of_log_p])
    unknown = torch.full_like(log_p, math.nan)
    k = pareto_k(log_weight) if len(log_weight) >= FEWEST else unknown
    rows = [_mean(log_weight), bounds, _mean(log_ratio), _mean(-log_likelihood), k.unsqueeze(0)]
    return torch.cat(rows)


def _mean(values: Tensor) -> Tensor:
    """The mean over the K samples and its squared error, `[2, B]`."""
    error = values.var(0) / len(values) if len(values) > 1 else torch.full_like(values[0], math.nan)
    return torch.stack([values.mean(0), error])


def _measure(values: Tensor, squared_errors: Tensor) -> Measurement:
    n = len(values)
    spread = values.std().item() / math.sqrt(n) if n > 1 else math.nan
    return Measurement(values.mean().item(), spread, squared_errors.sum().sqrt().item() / n)


def _reliability(k: Tensor, num_samples: int) -> tuple[float | None, float | None]:
    """The median of the examples' k, and the share of them above what so many weights allow."""
    if num_samples < FEWEST:
        return None, None
    return k.median().item(), (k > reliable_below(num_samples)).double().mean().item()


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

    Returns:
        The mean over the examples, in nats; smaller is better.

    Raises:
        ValueError: data outside the support of the likelihood, or no batch.
    """
    batches = batches_for(model, data, batch_size)
    with evaluating(model):
        bounds = [estimator(model, x).bound.cpu().double() for x in batches]
    if not bounds:
        raise ValueError("data gave no batch; there is no loss to average.")
    return -torch.cat(bounds).mean().item()
