"""Where a training runs: in this process alone, or as one of several through lightning-fabric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from reparam._ranks import gathered
from reparam.adam import AnyOptimizer, FusedAdam
from reparam.inspection import device_and_dtype
from reparam.training.randomness import random_state, reseed
from reparam.training.step import Step, StepModule, compile_step

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
Stepping = tuple[Callable[[Tensor], Step], AnyOptimizer]


class Place(Protocol):
    """What the training loop needs to know of where it runs. Of several ranks all must call each method but `clip`."""

    @property
    def fabric(self) -> Fabric | None: ...

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    @property
    def scaled(self) -> bool: ...

    def set_up(self, step: StepModule, optimizer: AnyOptimizer, compiled: bool) -> Stepping: ...

    def backward(self, loss: Tensor) -> None: ...

    def clip(self, optimizer: AnyOptimizer, norm: float) -> None: ...

    def sum(self, tensor: Tensor) -> Tensor: ...

    def any(self, flag: bool) -> bool: ...

    def mean(self, losses: Sequence[float | Tensor], sizes: Sequence[int]) -> float: ...

    def broadcast(self, value: Any) -> Any: ...

    def gather(self, value: Any) -> list[Any]: ...

    def equalise(self, tensors: Iterable[Tensor]) -> None: ...

    def first(self, do: Callable[[], T]) -> T | None: ...

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any]) -> None: ...


class Alone:
    """One process, one device, the precision of the model's parameters."""

    fabric = None
    rank = 0
    world = 1
    scaled = False

    def set_up(self, step: StepModule, optimizer: AnyOptimizer, compiled: bool) -> Stepping:
        if not compiled:
            return step, optimizer
        compile_step(step, device_and_dtype(step.model)[0])

        def stepped(x: Tensor) -> Step:
            step.meet(x)
            found: Step = step(x)
            return found

        return stepped, optimizer

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip(self, optimizer: AnyOptimizer, norm: float) -> None:
        nn.utils.clip_grad_norm_(_parameters(optimizer), norm)

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def any(self, flag: bool) -> bool:
        return flag

    def mean(self, losses: Sequence[float | Tensor], sizes: Sequence[int]) -> float:
        weighted, count = _weighted(losses, sizes)
        return weighted / count

    def broadcast(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def equalise(self, tensors: Iterable[Tensor]) -> None:
        pass

    def first(self, do: Callable[[], T]) -> T | None:
        return do()

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        pass


class _Sealed(nn.Module):
    """A step whose batch and loss Fabric does not see: it would round both to the precision of the products."""

    def __init__(self, step: StepModule) -> None:
        super().__init__()
        self.step = step
        self.x: Tensor | None = None
        self.found: Step | None = None

    def forward(self) -> Tensor:
        """The loss, by which data parallelism may look for parameters that had no part in it."""
        self.found = self.step(self.x)
        return self.found[0]


class Through:
    """A launched `Fabric`: its device, its precision, its processes."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank = fabric.global_rank
        self.world = fabric.world_size
        self.scaled = getattr(fabric.strategy.precision, "scaler", None) is not None  # 16-mixed multiplies the loss
        _check_strategy(fabric)

    def set_up(self, step: StepModule, optimizer: AnyOptimizer, compiled: bool) -> Stepping:
        """The step and the optimiser as Fabric makes them; the first rank's weights, and noise of its own, on each."""
        if compiled:
            compile_step(step, self.fabric.device)
        sealed = _Sealed(step)
        wrapped_optimizer = optimizer
        if isinstance(optimizer, FusedAdam):
            self.wrapped = self.fabric.setup_module(sealed)
        else:
            self.wrapped, wrapped_optimizer = self.fabric.setup(sealed, optimizer)
        if self.world > 1:
            origin = self.broadcast(random_state(self.fabric.device))
            if self.rank > 0:
                reseed(origin, self.rank)

        def stepped(x: Tensor) -> Step:
            step.meet(x)
            sealed.x = x
            self.wrapped()
            found, sealed.x, sealed.found = sealed.found, None, None
            assert found is not None
            return found

        return stepped, wrapped_optimizer

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def clip(self, optimizer: AnyOptimizer, norm: float) -> None:
        if isinstance(optimizer, FusedAdam):
            nn.utils.clip_grad_norm_(optimizer.parameters, norm)
            return
        try:
            self.fabric.clip_gradients(self.wrapped, optimizer, max_norm=norm, error_if_nonfinite=False)
        except NotImplementedError as error:
            raise ValueError(
                f"clip is {norm}, the precision 16-mixed, and the optimiser a fused one, which scales the gradient "
                "itself. Take bf16-mixed, no clip, or optimizer=torch.optim.Adam(model.parameters(), fused=False)."
            ) from error

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, on the device; of one rank what was given."""
        if self.world == 1:
            return tensor
        total = self.fabric.all_reduce(tensor.to(self.fabric.device, copy=True), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def any(self, flag: bool) -> bool:
        """Whether it holds on one of the ranks."""
        return (self.world > 1 and bool(self.sum(torch.tensor(float(flag))))) or flag

    def mean(self, losses: Sequence[float | Tensor], sizes: Sequence[int]) -> float:
        """The mean over the examples of all ranks."""
        weighted, count = self.sum(torch.tensor(_weighted(losses, sizes), dtype=torch.float64)).tolist()
        return float(weighted) / float(count)

    def broadcast(self, value: Any) -> Any:
        """What the first rank passed, on every rank."""
        return self.fabric.broadcast(value)

    def gather(self, value: Any) -> list[Any]:
        """What every rank passed, on every rank, by rank."""
        return gathered(self.fabric, value)

    def equalise(self, tensors: Iterable[Tensor]) -> None:
        """Gives every rank the first one's values."""
        if self.world == 1:
            return
        mine = list(tensors)
        with torch.no_grad():
            for tensor, value in zip(mine, self.broadcast([each.detach().cpu() for each in mine]), strict=True):
                tensor.copy_(value)

    def first(self, do: Callable[[], T]) -> T | None:
        """Lets the first rank do it, and gives its result there; an error is raised on every rank."""
        made, error = None, None
        if self.rank == 0:
            try:
                made = do()
            except Exception as found:
                error = found
        error = self.broadcast(error)
        if error is not None:
            raise error
        return made

    def state(self) -> dict[str, Any]:
        """What the precision keeps: the factor of the loss, of 16-mixed."""
        return self.fabric.strategy.precision.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        self.fabric.strategy.precision.load_state_dict(state)


def _check_strategy(fabric: Fabric) -> None:
    """Refuses what cuts the model itself in pieces, of which a checkpoint and an evaluation would see one."""
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.single_device import SingleDeviceStrategy

    if not isinstance(fabric.strategy, DDPStrategy | SingleDeviceStrategy):
        raise ValueError(
            f"the strategy is {type(fabric.strategy).__name__}; each device must hold the whole model. Use "
            'strategy="ddp".'
        )


def _parameters(optimizer: AnyOptimizer) -> Sequence[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _weighted(losses: Sequence[float | Tensor], sizes: Sequence[int]) -> tuple[float, int]:
    return float(numbers(losses) @ torch.tensor(sizes, dtype=torch.float64)), sum(sizes)


def numbers(losses: Sequence[float | Tensor]) -> Tensor:
    """Losses as float64 on the CPU, read off the device all at once."""
    tensors = [loss for loss in losses if isinstance(loss, Tensor)]
    if not tensors:
        return torch.tensor(losses, dtype=torch.float64)
    read = iter(torch.stack(tensors).tolist())
    return torch.tensor([next(read) if isinstance(loss, Tensor) else loss for loss in losses], dtype=torch.float64)
