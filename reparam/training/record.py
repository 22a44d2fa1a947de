"""experiment.json: everything that is needed to build the model again, and to know what it was trained on."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from reparam._version import __version__
from reparam.batches import AnyData
from reparam.data import Data, as_data, checksum, is_table
from reparam.estimators import Estimator
from reparam.expressions import describe
from reparam.model import LatentVariableModel


def record_of(
    model: LatentVariableModel,
    estimator: Estimator,
    data: AnyData,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """As plain values; of what cannot be written as text it is said what it is."""
    return {
        "format": 2,  # 1 recorded fit's defaults for batch_size and lr whatever the loader and the optimizer had
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"reparam": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "git": _commit(),
        "seed": torch.initial_seed(),
        **described("model", model),
        **described("estimator", estimator),
        "data": data_record(data),
        "training": dict(settings),
        **about,
    }


def shown(value: object) -> object:
    """A number as it is, a schedule as its text, a function by its name."""
    if value is None or isinstance(value, int | float):
        return value
    try:
        return describe(value)
    except ValueError:
        return getattr(value, "__qualname__", type(value).__qualname__)


def described(name: str, thing: object) -> dict[str, Any]:
    """A thing as text under its name, or what it is and why it cannot be written as text."""
    try:
        return {name: describe(thing)}
    except ValueError as error:
        return {
            name: None,
            f"{name}_is": f"{type(thing).__module__}.{type(thing).__qualname__}",
            f"{name}_why": str(error),
        }


def data_record(data: AnyData) -> dict[str, Any]:
    """Data as plain values: tensors and other tables with their checksum; somebody else's batches have none."""
    if not (isinstance(data, Data) or is_table(data)):
        return {"kind": type(data).__name__, "checksum": None}
    data = as_data(data, torch.get_default_dtype())
    return {
        "protocol": data.protocol,
        "examples": len(data),
        "shape": list(data.values.shape[1:]),
        "checksum": checksum(data),
    }


def _commit() -> str | None:
    """The commit of the folder that the training was started in, with "+" if files differ from it."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
