"""Schedules: a hyper-parameter as a function of the training step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from reparam._checks import number, positive, whole

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class exponential:
    """`max(end, start * exp(-rate * step))`, counted in whole blocks of `every` steps.

    A pure function of the step: it cannot compound, and a resumed run continues where the schedule was.

    Args:
        start: value at step 0.
        end: the floor that the value does not fall below.
        rate: decay per step.
        every: the value changes only at multiples of this many steps.

    Reference:
        Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax, 2016, arXiv 1611.01144, section 4.

    Example:
        >>> temperature = exponential(1.0, 0.1, rate=3e-5)
        >>> [round(temperature(step), 3) for step in (0, 4690, 10**6)]
        [1.0, 0.869, 0.1]
    """

    start: float
    end: float
    rate: float
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("start", "end", "rate"):
            positive(name, getattr(self, name))
        whole("every", self.every)
        if self.end > self.start:
            raise ValueError(f"start is {self.start} and end {self.end}; a decay ends below its start. Swap the two.")

    def __call__(self, step: int) -> float:
        return max(self.end, self.start * math.exp(-self.rate * (step // self.every * self.every)))


@dataclass(frozen=True)
class linear:
    """From `start` to `end` in equal steps over `num_steps` steps, then `end`.

    Example:
        >>> [linear(0.0, 1.0, num_steps=100)(step) for step in (0, 50, 100, 200)]
        [0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    num_steps: int

    def __post_init__(self) -> None:
        number("start", self.start)
        number("end", self.end)
        whole("num_steps", self.num_steps)

    def __call__(self, step: int) -> float:
        share = min(step / self.num_steps, 1.0)
        return (1 - share) * self.start + share * self.end


@dataclass(frozen=True)
class geometric:
    """From `start` to `end` by equal factors over `num_steps` steps, then `end`.

    Example:
        >>> [round(geometric(1.0, 0.01, num_steps=100)(step), 6) for step in (0, 50, 100, 200)]
        [1.0, 0.1, 0.01, 0.01]
    """

    start: float
    end: float
    num_steps: int

    def __post_init__(self) -> None:
        positive("start", self.start)
        positive("end", self.end)
        whole("num_steps", self.num_steps)

    def __call__(self, step: int) -> float:
        share = min(step / self.num_steps, 1.0)
        return math.exp((1 - share) * math.log(self.start) + share * math.log(self.end))
