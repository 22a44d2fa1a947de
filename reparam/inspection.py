"""What can be asked of any model: where it lives, whether it is exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from reparam._tensors import unwrap
from reparam.model import LatentVariableModel
from reparam.relaxation import is_relaxed


def modules_of(model: object) -> list[nn.Module]:
    """Every `nn.Module` of the model: itself and its parts, or those among a plain object's attributes."""
    if isinstance(model, nn.Module):
        return list(model.modules())
    parts = getattr(model, "__dict__", {}).values()
    return [m for part in parts if isinstance(part, nn.Module | LatentVariableModel) for m in modules_of(part)]


def device_and_dtype(model: LatentVariableModel) -> tuple[torch.device, torch.dtype]:
    """Where the model lives, and in which precision: those of its first floating-point parameter, or of its prior."""
    for module in modules_of(model):
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return parameter.device, parameter.dtype
    with torch.random.fork_rng([]):
        z = model.prior().sample()
    return z.device, z.dtype if z.is_floating_point() else torch.get_default_dtype()


def check_model(model: object) -> None:
    """Refuses what lacks one of the three methods."""
    missing = [name for name in ("prior", "posterior", "likelihood") if not callable(getattr(model, name, None))]
    if isinstance(model, type) or missing:
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        lacks = f" without the method {missing[0]}" if missing else ""
        raise TypeError(f"model is {what}{lacks}; a model is an object with prior(), posterior(x) and likelihood(z).")


def check_exact(model: LatentVariableModel, x: Tensor) -> None:
    """Refuses a model with a relaxed latent: a bound of it says nothing about the discrete model."""
    for name, distribution in (("prior", model.prior()), ("posterior", model.posterior(x))):
        if is_relaxed(distribution):
            raise TypeError(
                f"the model's {name} is a {type(unwrap(distribution)[0]).__name__}, a relaxed distribution: bounds of "
                "this model are not those of the discrete one. Make it Bernoulli or OneHotCategorical, and train with "
                "the estimator Relaxed."
            )


@contextmanager
def modes_kept(model: object) -> Iterator[None]:
    """Puts every module's training flag back to what it was."""
    flags = [(module, module.training) for module in modules_of(model)]
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """A block with random numbers of its own; the surrounding stream goes on as if it had not been."""
    kind = device.type if device.type not in ("cpu", "meta") else None
    fork = torch.random.fork_rng([device], device_type=kind) if kind else torch.random.fork_rng([])
    with fork:
        torch.default_generator.manual_seed(seed)
        if kind:
            backend = getattr(torch, kind)
            with backend.device(device) if hasattr(backend, "device") else nullcontext():
                backend.manual_seed(seed)
        yield


@contextmanager
def evaluating(model: LatentVariableModel, seed: int | None = None) -> Iterator[None]:
    """Without gradients, in eval mode, with a `seed` also with its own random numbers. All is put back afterwards."""
    device, _ = device_and_dtype(model)
    randomness = nullcontext() if seed is None else own_random_numbers(device, seed)
    with torch.no_grad(), modes_kept(model), randomness:
        for module in modules_of(model):
            module.training = False
        yield
