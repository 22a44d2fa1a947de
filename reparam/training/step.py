"""The step from batch to loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reparam.estimators import Estimator
from reparam.inspection import evaluating, modules_of
from reparam.model import LatentVariableModel

Step = tuple[Tensor, Tensor, Tensor | None]


class StepModule(nn.Module):
    """Model and estimator as one callable from batch to loss: what is compiled, and what data parallelism wraps."""

    def __init__(self, model: LatentVariableModel) -> None:
        super().__init__()
        self.model = model
        # a plain object's modules have to be known, to be moved and to have their gradients shared
        self.parts = nn.ModuleList([] if isinstance(model, nn.Module) else modules_of(model))
        self.estimator: Estimator | None = None
        self.name = ""
        self.met: set[type] | None = None

    def forward(self, x: Tensor) -> Step:
        """The loss, the bound `[B]` and the control variates' loss of the estimator that was set."""
        assert self.estimator is not None
        estimate = self.estimator(self.model, x)
        self.name = estimate.name
        return estimate.loss, estimate.bound, estimate.control_loss

    def meet(self, x: Tensor) -> None:
        """Lets torch look up what belongs to an estimator once, such as a KL in closed form, which cannot be traced."""
        if self.met is not None and type(self.estimator) not in self.met:
            self.met.add(type(self.estimator))
            with evaluating(self.model, seed=0):
                self.forward(x)


def compile_step(step: StepModule, device: torch.device) -> None:
    """Makes the step one that torch compiles when it is first called, if that can be done here."""
    from torch._inductor import cpp_builder, exc

    try:
        if device.type == "cpu":
            cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise ValueError(
            "compile is True, and there is no C++ compiler, by which torch.compile makes its kernels for the CPU. "
            "Install g++ or clang++, or leave compile out."
        ) from error
    step.compile()
    step.met = set()
