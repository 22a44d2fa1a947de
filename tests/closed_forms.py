"""What every closed form of a distribution is by mpmath, on grids that reach far.

A closed form keeps the digits that its parameters have: its error is at most as large as if the result and each parameter
p had been rounded `ROUNDINGS` times,

`|found - exact| <= ROUNDINGS * eps * (|exact| + sum over p of |p d(exact)/dp| + floor)`.

The floor is 1 for nats and for probabilities, which are added to others of that size, and 0 for moments.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import mpmath as mp
import numpy as np
import torch
from mpmath import mpf
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

ROUNDINGS = 32
DIGITS = 90  # terms of 1e36 cancel in some oracles
MOMENTS = ("mean", "variance")
WITH_A_VALUE = ("log_prob", "cdf", "icdf")


def unchanged(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Exact:
    """A distribution by a few numbers, with its closed forms in mpmath.

    Attributes:
        kind: the class.
        grid: lists of parameters.
        forms: from the name of a property or method to a function of the parameters. That of "log_prob" and of "cdf"
            takes a value before them, that of "icdf" a probability, that of "kl" the parameters of p and of q. None of a
            function is for parameters where the form does not exist.
        values: for "log_prob" and "cdf".
        probabilities: for "icdf".
        pairs: lists of the parameters of p and q, for "kl".
        make: from the tensors of the parameters to the distribution, by default the class itself.
        other: from the tensors of the parameters of q to q, by default `make`.
        event: from a tensor of values to what is scored.
        part: what of a mean or a variance is compared.
        slack: from a form to a factor on ROUNDINGS, with a reason.
    """

    kind: type[Distribution]
    grid: list
    forms: dict[str, Callable]
    values: tuple = ()
    probabilities: tuple = (1e-6, 0.3, 0.5, 0.999)
    pairs: list = field(default_factory=list)
    make: Callable | None = None
    other: Callable | None = None
    event: Callable = unchanged
    part: Callable = unchanged
    slack: dict[str, float] = field(default_factory=dict)

    def cases(self, form: str) -> list[tuple[float, ...]]:
        """Arguments of the closed form, each a float32."""
        if form in WITH_A_VALUE:
            rows = [(x, *row) for x in (self.probabilities if form == "icdf" else self.values) for row in self.grid]
        else:
            rows = self.pairs if form == "kl" else self.grid
        return [tuple(float(np.float32(number)) for number in row) for row in rows]

    def found(self, form: str, numbers: list[Tensor]) -> Tensor:
        def make(params):
            return self.make(*params) if self.make else self.kind(*params, validate_args=False)

        if form in WITH_A_VALUE:
            return getattr(make(numbers[1:]), form)(self.event(numbers[0]))
        if form == "kl":
            num_params = len(self.grid[0])
            return kl_divergence(make(numbers[:num_params]), (self.other or make)(numbers[num_params:]))
        found = getattr(make(numbers), form)
        return self.part(found) if form in MOMENTS else found()


@cache
def exact_and_slope(exact: Callable, numbers: tuple[float, ...]) -> tuple[mpf, mpf] | None:
    """The exact value and `sum |p d(exact)/dp|`, in mpmath."""
    step = mpf(10) ** -30
    params = [mpf(number) for number in numbers]
    value = exact(*params)
    if value is None:
        return None
    slope = mpf(0)
    for index, param in enumerate(params):
        moved = exact(*params[:index], param * (1 + step), *params[index + 1 :])
        slope += 0 if moved is None else abs(moved - value) / step
    return value, slope


def errors(case: Exact, form: str, dtype: torch.dtype) -> list[tuple[float, tuple[float, ...], float, float]]:
    """Of each case the error in roundings, the numbers, the value found and the exact one."""
    resolution, cases = torch.finfo(dtype), case.cases(form)
    found = case.found(form, [torch.tensor(column, dtype=dtype) for column in zip(*cases, strict=True)])
    floor, rows = 0 if form in MOMENTS else 1, []
    for numbers, value in zip(cases, found.double().tolist(), strict=True):
        with mp.workdps(DIGITS):
            expected = exact_and_slope(case.forms[form], numbers)
            if expected is None or (abs(expected[0]) > resolution.max and np.isinf(value)):
                continue
            exact, slope = expected
            allowed = resolution.eps * (abs(exact) + slope + floor) + resolution.tiny
            error = float(abs(mpf(value) - exact) / allowed) if np.isfinite(value) else np.inf
            rows.append((error, numbers, value, float(exact)))
    return rows
