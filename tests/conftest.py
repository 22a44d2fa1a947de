"""Shapes of public signatures are checked while the tests run; in use they cost nothing."""

import pytest
import torch
from jaxtyping import install_import_hook

_hook = install_import_hook("reparam", "shapes.check")
_hook.__enter__()


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(20261122)


@pytest.fixture
def float64():
    """A law is checked in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
