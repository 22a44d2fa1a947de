"""Keeps an optimiser's averages out of the denormal numbers, on which a CPU is slow."""

from __future__ import annotations

import torch

from reparam.adam import AnyOptimizer

EVERY = 100  # steps


def sweep(optimizer: AnyOptimizer) -> None:
    """Sets moving averages that count for nothing to zero, where the parameters live on a CPU.

    The weights of a pixel that is never lit get no gradient, and Adam's averages of it decay by a constant factor a
    step; after some 800 steps they are denormal, and each further step computes with them about ten times as slowly.
    An average below 1e-22 of Adam's `eps` (of float64 1e-47) moves no weight by a digit: trainings with and without
    this end in the same bits. Averages of squares are swept only when denormal, those of optimisers without an `eps`
    never. The known remedy, `torch.set_flush_denormal(True)`, holds for the whole process, and only for threads that
    begin after it.
    """
    eps = min((group.get("eps", 0.0) or 0.0) for group in optimizer.param_groups)
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.is_floating_point() and value.is_cpu:
                kind = torch.finfo(value.dtype)
                tiny = kind.tiny
                least = max(min(1e-22, kind.eps**3) * eps, tiny) if name == "exp_avg" else tiny
                if least > tiny or eps >= 1e-12:
                    value.mul_(value.abs() >= least)
