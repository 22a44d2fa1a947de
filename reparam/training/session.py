"""All that changes while training, as one tree that a checkpoint holds, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from reparam.adam import AnyOptimizer, FusedAdam
from reparam.estimators import Estimator
from reparam.model import LatentVariableModel
from reparam.training.control import Control
from reparam.training.epoch import Epoch
from reparam.training.matching import (
    Mismatch,
    check_fields,
    check_like,
    check_names,
    check_optimizer,
    check_random_state,
    check_tensor,
)
from reparam.training.place import Place, numbers
from reparam.training.randomness import random_state, reseed, set_random_state

_CONTENT = ("progress", "model", "loose", "estimator", "optimizer", "control", "precision", "ranks")


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        step: optimiser steps done.
        epoch: the one in work, counted from 1.
        batch: batches of it that are done: the sampler's position.
        losses, sizes: one for each of these batches; numbers on a CPU, where a tensor kept for each step would lie amid
            freed batches and keep the heap from using their room again.
        name: what the losses are the negatives of.
        history: (number, loss, name, steps, seconds) of each finished epoch.
        seconds: of this epoch so far.
        best: the best exact validation bound so far in nats, with its epoch.
        waited: validations since then.
        done: the training has come to its end.
    """

    step: int = 0
    epoch: int = 1
    batch: int = 0
    losses: list[float | Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    name: str = ""
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    waited: int = 0
    done: bool = False

    def tree(self) -> dict[str, Any]:
        """As tensors and plain values; the losses and sizes are each rank's own, and stand with its random numbers."""
        tree = {name: value for name, value in vars(self).items() if name not in ("losses", "sizes", "history")}
        tree["history"] = [[e.number, e.loss, e.name, e.steps, e.seconds] for e in self.history]
        return tree

    def next_epoch(self) -> None:
        """A new epoch, of which nothing is done."""
        self.epoch += 1
        self.batch, self.losses, self.sizes, self.seconds = 0, [], [], 0.0

    @staticmethod
    def check(tree: object) -> None:
        """Refuses what `tree` did not give.

        Raises:
            Mismatch: another field, another type, or a number below 0.
        """
        kinds = {name: kind for name, kind in get_type_hints(Progress).items() if name not in ("losses", "sizes")}
        for number, row in enumerate(check_fields("progress", tree, kinds)["history"]):
            check_like(f"progress.history[{number}]", row, (0, 0.0, "", 0, 0.0))

    @staticmethod
    def of(tree: Mapping[str, Any], estimator: Estimator) -> Progress:
        """From such a tree."""
        losses = tree["losses"].tolist()
        history = [
            Epoch(number, loss, name, steps, seconds, estimator.at(steps))
            for number, loss, name, steps, seconds in tree["history"]
        ]
        return Progress(**{**tree, "losses": losses, "history": history})


@dataclass
class Session:
    """A training: what learns, how far it is, and the random numbers it began the epoch with."""

    model: LatentVariableModel
    optimizer: AnyOptimizer
    control: Control
    device: torch.device
    place: Place
    generators: Sequence[torch.Generator] = ()  # of somebody else's loader
    progress: Progress = field(default_factory=Progress)
    epoch_start: dict[str, Any] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """Everything, collected from all ranks; every rank must call it."""
        progress = self.progress
        before_first_batch = {} if progress.batch else self.epoch_start  # a loader has drawn its order since
        mine = {
            "epoch_start": self.epoch_start,
            "now": before_first_batch or self._now or random_state(self.device, self.generators),
            "losses": numbers(progress.losses),
            "sizes": torch.tensor(progress.sizes, dtype=torch.int64),
        }
        return {
            "progress": progress.tree(),
            "model": state_of(self.model),
            "loose": self._loose(),
            "estimator": state_of(self.control.estimator),
            "optimizer": self.optimizer.state_dict(),
            "control": self.control.optimizer.state_dict() if self.control.optimizer else None,
            "precision": self.place.state(),
            "ranks": self.place.gather(mine),
        }

    def load(self, tree: Mapping[str, Any]) -> None:
        """Restores everything except the random state, which `begin_epoch` and `order_is_drawn` restore.

        Raises:
            ValueError: the tree is not one of this training; nothing of it has been loaded then.
        """
        try:
            self._check(tree)
        except Mismatch as error:
            raise ValueError(
                f"{tree.get('path', 'the checkpoint')} does not fit this training: {error}. Build model, estimator and "
                "optimizer as they were, or train anew in another folder."
            ) from error
        load_state(self.model, tree["model"])
        with torch.no_grad():
            for tensor, value in zip(self._loose(), tree["loose"], strict=True):
                tensor.copy_(value)
        load_state(self.control.estimator, tree["estimator"])
        _load_optimizer(self.optimizer, tree["optimizer"])
        if self.control.optimizer is not None and tree["control"] is not None:
            _load_optimizer(self.control.optimizer, tree["control"])
        self.place.load(tree["precision"])
        mine = self._mine(tree["ranks"])
        self.progress = Progress.of({**tree["progress"], **mine}, self.control.estimator)

    def _check(self, tree: Mapping[str, Any]) -> None:
        """Compares the tree with what this training would save: names, shapes and types."""
        check_names("the checkpoint", tree, _CONTENT, more=True)
        check_like("model", tree["model"], state_of(self.model))
        check_like("estimator", tree["estimator"], state_of(self.control.estimator))
        check_like("loose", tree["loose"], self._loose())
        check_optimizer("optimizer", self.optimizer, tree["optimizer"])
        if self.control.optimizer is not None and tree["control"] is not None:
            check_optimizer("control", self.control.optimizer, tree["control"])
        check_like("precision", tree["precision"], self.place.state())
        Progress.check(tree["progress"])
        if not isinstance(tree["ranks"], list) or not tree["ranks"]:
            raise Mismatch("ranks is empty; it must hold the random state of each process")
        own = random_state(self.device, self.generators)
        for number, rank in enumerate(tree["ranks"]):
            name = f"ranks[{number}]"
            check_names(name, rank, ("epoch_start", "now", "losses", "sizes"))
            check_random_state(f"{name}.now", rank["now"], own)
            if rank["epoch_start"] != {}:
                check_random_state(f"{name}.epoch_start", rank["epoch_start"], own)
            losses = check_tensor(f"{name}.losses", rank["losses"], None, torch.float64)
            check_tensor(f"{name}.sizes", rank["sizes"], losses.shape, torch.int64)

    def _mine(self, ranks: list[dict[str, Any]]) -> dict[str, Any]:
        """Takes this rank's random numbers; gives the losses of its part of the epoch in work."""
        rank, world = self.place.rank, self.place.world
        mine = ranks[rank if len(ranks) == world else 0]
        self.epoch_start, self._now = mine["epoch_start"], mine["now"]
        losses, sizes = mine["losses"], mine["sizes"]
        if len(ranks) != world:
            if rank == 0:
                warnings.warn(
                    f"the run was saved by {len(ranks)} processes and goes on with {world}: the noise will be other, "
                    "and the end not the same to the last bit as without the interruption.",
                    stacklevel=2,
                )
            else:
                reseed(self._now, rank)
                self._now = random_state(self.device, self.generators)
            counts = torch.stack([each["sizes"] for each in ranks])
            total = counts.sum(0)
            losses = (torch.stack([each["losses"] for each in ranks]) * counts).sum(0) / total
            sizes = total if rank == 0 else torch.zeros_like(total)
        return {"losses": losses, "sizes": sizes.tolist()}

    def _loose(self) -> list[Tensor]:
        """What the optimiser moves and no module of the model holds: a plain object may keep its tensors anywhere."""
        parts = [self.model] if isinstance(self.model, nn.Module) else list(_attributes(self.model).values())
        held = {id(parameter) for part in parts for parameter in part.parameters()}
        return [p for group in self.optimizer.param_groups for p in group["params"] if id(p) not in held]

    _now: dict[str, Any] | None = None

    def next_epoch(self) -> None:
        """Goes on to the next epoch."""
        self.progress.next_epoch()
        self.epoch_start = {}

    def begin_epoch(self) -> None:
        """Notes the random numbers that the order of this epoch is drawn from; in a resumed one goes back to them."""
        if self.progress.batch and self.epoch_start:
            set_random_state(self.epoch_start, self.device, self.generators)
        elif self._now is not None:
            set_random_state(self._now, self.device, self.generators)
            self._now = None
        self.epoch_start = random_state(self.device, self.generators)

    def order_is_drawn(self) -> None:
        """In an epoch that is resumed in its middle: goes on to the random numbers of that moment."""
        if self._now is not None:
            set_random_state(self._now, self.device, self.generators)
            self._now = None


def state_of(part: object) -> dict[str, Any]:
    """Parameters and buffers by name: of a module, or of the modules among a plain object's attributes."""
    if isinstance(part, nn.Module):
        return dict(part.state_dict())
    return {
        f"{name}.{key}": value
        for name, module in _attributes(part).items()
        for key, value in module.state_dict().items()
    }


def load_state(part: object, state: Mapping[str, Any]) -> None:
    """Copies parameters and buffers in; floating-point ones are cast to the part's precision.

    Raises:
        ValueError: other names, shapes or kinds of numbers than the part has.
    """
    named = {"": part} if isinstance(part, nn.Module) else _attributes(part)
    own = state_of(part)
    try:
        for name, value in state.items():  # torch would cut a number off to a whole one, without a word
            mine = own.get(name)
            if isinstance(value, Tensor) and isinstance(mine, Tensor) and not _is_cast(value.dtype, mine.dtype):
                raise RuntimeError(f"{name} is {value.dtype}, and {mine.dtype} in the model")
        for name, module in named.items():
            prefix = f"{name}." if name else ""
            mine = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            module.load_state_dict(mine)
    except RuntimeError as error:
        raise ValueError(
            f"the saved weights are not those of this {type(part).__name__}: {' '.join(str(error).split())}. Build it "
            "as it was when it was saved."
        ) from error


def _is_cast(saved: torch.dtype, own: torch.dtype) -> bool:
    return saved == own or (saved.is_floating_point and own.is_floating_point)


def _attributes(part: object) -> dict[str, nn.Module]:
    return {name: each for name, each in getattr(part, "__dict__", {}).items() if isinstance(each, nn.Module)}


def _load_optimizer(optimizer: AnyOptimizer, state: dict[str, Any]) -> None:
    try:
        optimizer.load_state_dict(state)
        _lay_out(optimizer)
    except ValueError as error:
        raise ValueError(
            f"the saved state is not that of this {type(optimizer).__name__} ({error}). Make the optimiser as it was."
        ) from error


def _lay_out(optimizer: AnyOptimizer) -> None:
    """Gives state that is one number for each weight its weight's strides: fused kernels go over both by address."""
    for key, state in optimizer.state.items():
        parameter = optimizer.parameters[key] if isinstance(optimizer, FusedAdam) and isinstance(key, int) else key
        assert isinstance(parameter, Tensor)
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
