"""lab: which estimator to use, measured on one's own model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from reparam._checks import choice, positive, whole
from reparam.batches import Fits
from reparam.catalogue import estimators_for
from reparam.data import Data, as_batch
from reparam.estimators import Estimator
from reparam.inspection import check_exact, check_model, device_and_dtype, modes_kept, modules_of, own_random_numbers
from reparam.laboratory.comparison import finding
from reparam.laboratory.meter import NUM_BLOCKS, Counted, Meter, warmed_up
from reparam.laboratory.reference import Reference, References
from reparam.laboratory.report import Finding, Lab
from reparam.model import LatentVariableModel
from reparam.training.progress import progress


def lab(
    model: LatentVariableModel,
    x: Tensor,
    estimators: Mapping[str, Estimator] | Iterable[Estimator] | None = None,
    *,
    repeats: int = 200,
    part: Literal["all", "posterior", "generative"] = "all",
    warm_up: int = 100,
    reference_repeats: int = 2000,
    control_lr: float = 1e-2,
    step: int = 0,
    seed: int = 0,
) -> Lab:
    """Measures estimators of the gradient on one batch: bias, variance, cost, and which to use.

    Each is compared with the exact gradient of the bound it names, by enumeration of the latent where that is
    possible, and where not with a long average of RLOO (of VIMCO for an importance-weighted bound). What relaxes the
    model or the KL is compared with the ELBO of the exact model. Estimators take turns, so that they meet the same
    machine; the model is in eval mode meanwhile, and neither it nor the estimators are changed.

    Args:
        model: the exact model, trained or not: the answer depends on it.
        x: a batch, `[B, *event]`; a few dozen examples will do.
        estimators: by name, or a list of them; every one of the library that takes the latent, if not given.
        repeats: gradients drawn of each, at least 20, rounded down to tens.
        part: whose parameters: those that q(z|x) depends on, all others, or both.
        warm_up: steps for which baselines and control variates are fitted to the batch beforehand.
        reference_repeats: gradients in the long average. Its noise is part of the errors of what is compared with it.
        control_lr: learning rate of the control variates.
        step: for which schedules are fixed.
        seed: of the draws.

    Returns:
        A `Lab` with a `Finding` for each estimator; figures are relative to the length of the exact gradient.

    Raises:
        TypeError: what is no model or no estimator; a relaxed model.
        ValueError: x that does not fit the model; a part without parameters.

    Example:
        >>> import reparam as rp
        >>> model = rp.VAE(rp.Bernoulli(3), rp.Bernoulli(4), rp.mlp(4, [8], 3), rp.mlp(3, [8], 4))
        >>> found = lab(model, torch.rand(5, 4).round(), [rp.RLOO(2), rp.RLOO(8)], repeats=100)
        >>> found["RLOO(num_samples=8)"].variance < found["RLOO(num_samples=2)"].variance
        True
    """
    for name, value, least in (
        ("repeats", repeats, 2),
        ("warm_up", warm_up, 0),
        ("reference_repeats", reference_repeats, 2),
    ):
        whole(name, value, least=least * NUM_BLOCKS)
    positive("control_lr", control_lr)
    choice("part", part, ("all", "posterior", "generative"))
    check_model(model)
    given: object = x
    if isinstance(given, Data):
        raise TypeError("x is Data; the laboratory takes one batch of it, such as data.test[:32].")
    x = as_batch(x, *device_and_dtype(model))
    if len(x) == 0:
        raise ValueError("x holds no example; a few dozen will do: data.test[:32].")
    repeats, reference_repeats = (n - n % NUM_BLOCKS for n in (repeats, reference_repeats))
    with torch.enable_grad(), modes_kept(model), own_random_numbers(x.device, seed):
        for module in modules_of(model):
            module.training = False
        Fits(model, x[:1]).check(x)
        check_exact(model, x)
        chosen = estimators_for(model, x) if estimators is None else _named(estimators)
        parameters = parameters_of(model, x, part)
        references = References(model, x, parameters, reference_repeats)
        compared: list[tuple[str, Meter, Reference]] = []
        refused = {}
        for name, estimator in progress(chosen.items(), "references and warm-up"):
            try:
                fixed = warmed_up(estimator.at(step), model, x, warm_up, control_lr)
                reference = references.of(fixed, fixed(Counted(model), x).name)
            except (TypeError, ValueError, RuntimeError, IndexError) as error:
                refused[name] = str(error).splitlines()[0]
                continue
            compared.append((name, Meter(fixed, model, x, parameters, repeats, reference.gradient), reference))
        for meter in progress([meter for _ in range(repeats) for _, meter, _ in compared], "measuring"):
            meter.draw()
    if not compared:
        reasons = "; ".join(dict.fromkeys(refused.values()))
        raise ValueError(f"none of {', '.join(refused)} takes this model: {reasons}")
    meters = [meter for _, meter, _ in compared]
    # a clock may tick too slowly to see a gradient, and an estimator of the user's may decode nothing
    most = (max(meter.seconds for meter in meters) or 1.0, max(meter.decodings for meter in meters) or 1.0)
    findings = sorted((finding(*each, most) for each in compared), key=_rank)
    return Lab(tuple(findings), repeats, part, " and ".join(sorted(references.how)) or "no reference", refused)


def parameters_of(model: LatentVariableModel, x: Tensor, part: str) -> list[nn.Parameter]:
    """The trainable parameters that q(z|x) depends on, those that it does not, or all."""
    unique = {id(p): p for module in modules_of(model) for p in module.parameters() if p.requires_grad}
    parameters = list(unique.values())
    if part != "all" and parameters:
        posterior = model.posterior(x)
        log_q = posterior.log_prob(posterior.sample()).sum()
        learned = log_q.requires_grad
        used = torch.autograd.grad(log_q, parameters, allow_unused=True) if learned else [None] * len(parameters)
        parameters = [p for p, g in zip(parameters, used, strict=True) if (g is not None) == (part == "posterior")]
    if not parameters:
        raise ValueError(
            f"the model has no trainable parameters in the part {part!r}; there is no gradient to measure."
        )
    return parameters


def _named(estimators: Mapping[str, Estimator] | Iterable[Estimator]) -> dict[str, Estimator]:
    if isinstance(estimators, str | Estimator) or not isinstance(estimators, Iterable):
        raise TypeError(
            f"estimators is {estimators!r}; it must be a list of estimators or a dict by name: [rp.RLOO(4)]."
        )
    named = dict(estimators) if isinstance(estimators, Mapping) else {}
    for each in () if isinstance(estimators, Mapping) else estimators:
        same = sum(name == str(each) or name.startswith(f"{each} #") for name in named)
        named[f"{each} #{same + 1}" if same else str(each)] = each
    for estimator in named.values():
        if isinstance(estimator, type) or not isinstance(estimator, Estimator):
            raise TypeError(f"estimators hold {estimator!r}; it must be an estimator such as rp.RLOO(4).")
    if not named:
        raise ValueError("estimators is empty; there is nothing to measure.")
    return named


def _rank(finding: Finding) -> tuple[str, bool, float]:
    return finding.bound, math.isnan(finding.mse), finding.mse
