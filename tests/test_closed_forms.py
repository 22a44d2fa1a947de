"""Every closed form of every distribution against mpmath, over wide grids of parameters, in float32 and float64."""

import inspect

import pytest
import torch
from closed_forms import MOMENTS, ROUNDINGS, WITH_A_VALUE, errors
from exact_forms import EXACT
from exact_levels import LEVELS_AND_LOW_RANK
from torch.distributions import Distribution
from torch.distributions.kl import _KL_REGISTRY

from reparam import distributions as ours

FORMS = {*MOMENTS, *WITH_A_VALUE, "entropy"}
WITHOUT = {ours.Autoregressive, ours.Flow, ours.Rounded}  # their density is a network's, or that of another of these
ALL = [*EXACT, *LEVELS_AND_LOW_RANK]
CASES = [
    pytest.param(case, form, id=f"{case.kind.__name__}-{form}-{index}")
    for index, case in enumerate(ALL)
    for form in case.forms
]


@pytest.mark.parametrize(("case", "form"), CASES)
def test_keeps_its_digits(case, form):
    for dtype in (torch.float32, torch.float64):
        error, numbers, found, expected = max(errors(case, form, dtype))
        limit = ROUNDINGS * case.slack.get(form, 1)
        assert error <= limit, f"{form} of {numbers} in {dtype} is {found}, not {expected}: {error:.1f} roundings"


def test_every_closed_form_of_every_distribution_is_compared():
    kinds = {kind for _, kind in inspect.getmembers(ours, inspect.isclass) if issubclass(kind, Distribution)}
    offered = {
        (kind.__name__, name)
        for kind in kinds - WITHOUT
        for base in kind.__mro__[: kind.__mro__.index(Distribution)]
        for name in FORMS & vars(base).keys()
    }
    registered = {p for p, _ in _KL_REGISTRY if p.__module__.startswith("reparam.distributions.")}
    offered |= {(kind.__name__, "kl") for kind in kinds if issubclass(kind, tuple(registered))}
    assert offered == {(case.kind.__name__, form) for case in ALL for form in case.forms}
