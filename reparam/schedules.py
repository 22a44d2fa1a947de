"""Schedules: a hyper-parameter as a function of the training step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from reparam._checks import number, positive, whole

Schedule = Callable[[int], float]


def value_at(value: float | Schedule, step: int) -> float:
    """A number as it is, a schedule's value at a step."""
    return value(step) if callable(value) else value


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


@dataclass(frozen=True)
class cosine:
    """From zero to `peak` in equal steps over `warmup` steps, then down along half a cosine to `end` at `num_steps`.

    Meant for learning rates: `fit(..., lr=cosine(3e-3, num_steps=4690, warmup=500))`.

    Reference:
        Loshchilov, Hutter, SGDR, 2016, arXiv 1608.03983, equation 5; the warm-up as in Goyal et al., 2017, arXiv
        1706.02677, section 2.2.

    Example:
        >>> [round(cosine(1.0, num_steps=110, warmup=10)(step), 3) for step in (0, 9, 60, 110, 999)]
        [0.1, 1.0, 0.5, 0.0, 0.0]
    """

    peak: float
    num_steps: int
    warmup: int = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        positive("peak", self.peak)
        number("end", self.end)
        whole("num_steps", self.num_steps)
        whole("warmup", self.warmup, least=0)
        if self.warmup >= self.num_steps:
            raise ValueError(f"warmup is {self.warmup} of {self.num_steps} steps; it must end before they do.")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        share = min((step - self.warmup) / (self.num_steps - self.warmup), 1.0)
        return self.end + (self.peak - self.end) * (1 + math.cos(math.pi * share)) / 2
