"""Several latents as one: what a chain and its relaxation share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from reparam._tensors import version_of
from reparam.families import Family


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A value, its parts as they were drawn, and what they were drawn from."""

    value: Tensor
    version: float
    values: dict[str, Tensor]
    parts: dict[str, Distribution]
    differentiable: bool

    def serves(self, value: Tensor) -> bool:
        """Whether this is that draw, unchanged, and has the gradients that are wanted now."""
        same = self.value is value and self.version == version_of(value)
        return same and (self.differentiable or not torch.is_grad_enabled())


class Composite(Distribution, ABC):
    """The flat values of all parts side by side, `[..., sum of their sizes]`, each part drawn given those before it.

    The last draw is remembered with the distributions that its parts were drawn from: scoring it runs no network again.
    That saves time, is right where a network is random itself (dropout), and lets a `Flow` score its own draw.

    Attributes:
        families: what each part is, by name, in the order in which a value holds them.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    families: Mapping[str, Family]

    def __init__(self, families: Mapping[str, Family], batch_shape: torch.Size) -> None:
        self.families = families
        self._drawn: _Drawn | None = None
        size = sum(family.event_shape.numel() for family in families.values())
        super().__init__(batch_shape, torch.Size([size]), validate_args=False)

    @abstractmethod
    def parts(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Distribution]]:
        """Each part's name and distribution given the parts before it, in the order of drawing.

        `values` must hold a part's value by the time that the next one is asked for.
        """

    def split(self, value: Tensor) -> dict[str, Tensor]:
        """A value `[..., event]` as its parts, each with its own event shape."""
        return split(value, self.families)

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        """The parts as one value."""
        flat = [values[name].flatten(-len(family.event_shape)) for name, family in self.families.items()]
        return torch.cat(flat, -1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        # with gradients on for the parts' parameters, which `log_prob` of this draw will want; the draw has none
        return self._draw("sample", sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._draw("rsample", sample_shape)

    def _draw(self, method: str, sample_shape: Any) -> Tensor:
        batch_shape = self._extended_shape(sample_shape)[:-1]
        values: dict[str, Tensor] = {}
        parts: dict[str, Distribution] = {}
        for name, part in self.parts(values):
            more = batch_shape[: len(batch_shape) - len(part.batch_shape)]
            values[name] = getattr(part, method)(more)
            parts[name] = part
        value = self.join(values)
        self._drawn = _Drawn(value, version_of(value), values, parts, torch.is_grad_enabled())
        return value

    def log_prob_by_part(self, value: Tensor) -> dict[str, Tensor]:
        """log p of each part given those drawn before it, in nats, `[*sample, *batch]`; `log_prob` is their sum."""
        drawn = self._drawn
        if drawn is not None and drawn.serves(value):
            return {name: part.log_prob(drawn.values[name]) for name, part in drawn.parts.items()}
        values = self.split(value)
        return {name: part.log_prob(values[name]) for name, part in self.parts(values)}

    def log_prob(self, value: Tensor) -> Tensor:
        total: Tensor = sum(self.log_prob_by_part(value).values(), value.new_zeros(()))
        return total


def modules_among(families: Iterable[Family]) -> nn.ModuleList:
    """The families that are modules, each once: what they learn belongs to the model that holds them."""
    return nn.ModuleList(dict.fromkeys(family for family in families if isinstance(family, nn.Module)))


def split(value: Tensor, families: Mapping[str, Family]) -> dict[str, Tensor]:
    """The flat values of several families side by side, taken apart.

    Raises:
        ValueError: the last axis is not as long as all of them together.
    """
    sizes = {name: family.event_shape.numel() for name, family in families.items()}
    if value.shape[-1:] != (sum(sizes.values()),):
        parts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(f"value has shape {tuple(value.shape)}; its last axis must be {sum(sizes.values())}: {parts}.")
    pieces = zip(families.items(), value.split(list(sizes.values()), -1), strict=True)
    return {name: piece.reshape(*piece.shape[:-1], *family.event_shape) for (name, family), piece in pieces}
