"""The state of every random generator that a training may draw from."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from reparam._ranks import derived_seed


def random_state(device: torch.device, generators: Sequence[torch.Generator] = ()) -> dict[str, Any]:
    """The states of torch on the CPU and on `device`, of numpy and of Python, as tensors and plain values."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "generators": [generator.get_state() for generator in generators],
        "numpy": [
            str(name),
            torch.tensor(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [version, torch.tensor(words), gauss],
    }
    if device.type not in ("cpu", "meta"):
        backend = getattr(torch, device.type)
        state[device.type] = backend.get_rng_state(device) if device.type != "mps" else backend.get_rng_state()
    return state


def set_random_state(state: dict[str, Any], device: torch.device, generators: Sequence[torch.Generator] = ()) -> None:
    """Puts every generator back to a `random_state`; one of a device that is not there now is left out."""
    torch.set_rng_state(state["torch"])
    for generator, its_state in zip(generators, state["generators"], strict=False):
        generator.set_state(its_state)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if device.type in state:
        backend = getattr(torch, device.type)
        backend.set_rng_state(state[device.type], *(() if device.type == "mps" else (device,)))


def reseed(origin: Mapping[str, Any], rank: int) -> None:
    """Gives this rank random numbers of its own, made from the state of the first rank, which keeps its stream."""
    seed = derived_seed(origin["torch"].numpy().tobytes(), rank)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
