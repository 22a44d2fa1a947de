"""Adam on a CPU, with nothing around its kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class FusedAdam:
    """torch's fused Adam, to the last bit, without `torch.optim` around it.

    Of half a millisecond that `torch.optim.Adam` takes a step for the 650,000 weights of the examples, a fifth goes
    into looking up and grouping the same tensors; and the first `torch.optim.Optimizer` of a process imports the
    compiler, which takes a second. `fit` makes this one on a CPU, where it is asked for no other.

    Attributes:
        param_groups: one group, as of `torch.optim.Adam`, whose `state_dict` this one's is.
        state: step, exp_avg and exp_avg_sq by the number of the parameter.
        name: that of torch's, with which a run may go on, as this one may with its state.

    Args:
        parameters: floating-point, on the CPU.
        lr: learning rate, at least 0.
        eps: added to the root of the second moment.
        weight_decay: added to the gradient; or taken from the weights, if `decoupled` (AdamW).

    Reference:
        Kingma, Ba, Adam: A Method for Stochastic Optimization, 2014, arXiv 1412.6980, algorithm 1; Loshchilov, Hutter,
        Decoupled Weight Decay Regularization, 2017, arXiv 1711.05101.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float,
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        self.parameters = list(parameters)
        group = {"lr": lr, "betas": (0.9, 0.999), "eps": eps, "weight_decay": weight_decay}
        group |= {"decoupled_weight_decay": decoupled, "fused": True}  # for torch's own, if it goes on with this state
        self.param_groups: list[dict[str, Any]] = [{"params": self.parameters, **group}]
        self.state: dict[int, dict[str, Tensor]] = {}
        self.name = "AdamW" if decoupled else "Adam"
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_

    @torch.no_grad()
    def step(self) -> None:
        """One step for the parameters that have a gradient."""
        gradients = [parameter.grad for parameter in self.parameters]
        moved = [index for index, gradient in enumerate(gradients) if gradient is not None]
        for index in moved:
            if index not in self.state:
                zeros = torch.zeros_like(self.parameters[index], memory_format=torch.preserve_format)
                self.state[index] = {"step": torch.tensor(0.0), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        states = [self.state[index] for index in moved]
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        self.kernel(
            [self.parameters[index] for index in moved],
            [gradient for gradient in gradients if gradient is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"].add_(1) for state in states],
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Of the form of `torch.optim.Adam`'s."""
        group = {**self.param_groups[0], "params": list(range(len(self.parameters)))}
        return {"state": {index: dict(state) for index, state in self.state.items()}, "param_groups": [group]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict` of this class or of `torch.optim.Adam`.

        Raises:
            ValueError: one of other parameters.
        """
        groups = saved["param_groups"]
        if len(groups) != 1 or len(groups[0]["params"]) != len(self.parameters):
            numbers = [len(group["params"]) for group in groups]
            raise ValueError(f"it is of groups of {numbers} parameters, and there is one of {len(self.parameters)}")
        for name in ("lr", "betas", "eps", "weight_decay"):
            self.param_groups[0][name] = groups[0][name]
        self.state = {
            index: {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}
            for index, state in saved["state"].items()
        }


AnyOptimizer = torch.optim.Optimizer | FusedAdam


def adam_for(
    parameters: Sequence[Tensor],
    lr: float,
    *,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    device: torch.device | None = None,
    scaled: bool = False,
) -> AnyOptimizer:
    """Adam, or AdamW if `decoupled`, as is fastest on `device`, or where the parameters live if that is not given.

    Gradients that come `scaled`, as those of mixed float16 do, are for torch's own.
    """
    kinds = {(device or p.device).type if p.is_floating_point() else "" for p in parameters}
    # the kernels go by address: weights with gaps between them, such as columns of a larger tensor, are none for them
    dense = all(torch.empty_like(p, device="meta").stride() == p.stride() for p in parameters)
    if kinds == {"cpu"} and dense and not scaled:
        return FusedAdam(parameters, lr, eps=eps, weight_decay=weight_decay, decoupled=decoupled)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    return kind(parameters, lr=lr, eps=eps, weight_decay=weight_decay, fused=dense and kinds <= {"cpu", "cuda"})
