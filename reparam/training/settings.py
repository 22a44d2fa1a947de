"""Settings of a training that a resumption is compared by: as plain values, and what may differ."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from reparam.adam import AnyOptimizer
from reparam.inspection import device_and_dtype
from reparam.schedules import Schedule
from reparam.training.arguments import rate_of
from reparam.training.place import Place
from reparam.training.record import data_record, shown
from reparam.training.session import Session
from reparam.training.validation import Validation

# A run that was begun before these were recorded is resumed without comparing them.
_RECORDED_LATER = ("control_lr", "optimizer_options", "dtype", "precision", "validation", "device", "compile")
_ROUNDING = ("device", "compile")  # they change how numbers are rounded, and nothing else
_HOW_IT_IS_COMPUTED = ("params", "lr", "initial_lr", "foreach", "fused", "capturable", "differentiable")


def settings_of(
    session: Session,
    *,
    batch_size: int | None,
    drop_last: bool,
    start_step: int | None,
    lr: float | Schedule | None,
    control_lr: float,
    clip: float | None,
    validation: Validation | None,
    compile: bool,
) -> dict[str, Any]:
    """Plain values of what shapes a training besides model, estimator and data."""
    device, dtype = device_and_dtype(session.model)
    return {
        "batch_size": batch_size,
        **({"drop_last": True} if drop_last else {}),
        **({"start_step": start_step} if start_step else {}),
        "optimizer": getattr(session.optimizer, "name", type(session.optimizer).__name__),
        "lr": shown(lr) if callable(lr) else rate_of(session.optimizer),
        "clip": clip,
        "control_lr": control_lr if session.control.parameters else None,
        "optimizer_options": _options(session.optimizer),
        "dtype": str(dtype).removeprefix("torch."),
        "precision": _precision(session.place),
        "validation": None if validation is None else _of_validation(validation),
        "device": device.type,
        "compile": compile,
    }


def compared(name: str, before: object, now: object, untrue: Sequence[str] = ()) -> tuple[object, object]:
    """Both values of one name of the record, without what need not agree; of named values only those that differ.

    Settings named in `untrue` were recorded wrongly and are not compared.
    """
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before, now
    if name == "training":
        free = {*_ROUNDING, *untrue, *(each for each in _RECORDED_LATER if each not in before)}
        before, now = ({key: value for key, value in each.items() if key not in free} for each in (before, now))
    return _different(before, now)


def warn_of_rounding(folder: Path, before: object, now: Mapping[str, Any]) -> None:
    """Warns of settings that may differ, and cost a resumed training its last bits."""
    if not isinstance(before, dict):
        return
    changed = [name for name in _ROUNDING if name in before and before[name] != now.get(name)]
    if changed:
        was, is_now = (", ".join(f"{name} {each.get(name)}" for name in changed) for each in (before, now))
        warnings.warn(
            f"{folder} was begun with {was} and goes on with {is_now}: the end will not be the same to the last bit as "
            "without the interruption.",
            stacklevel=2,
        )


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Named values that differ, of both; inside of what is named, too."""
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name in {**before, **now}:
        was, is_now = before.get(name), now.get(name)
        if was != is_now:
            if isinstance(was, dict) and isinstance(is_now, dict):
                was, is_now = _different(was, is_now)
            found[0][name], found[1][name] = was, is_now
    return found


def _options(optimizer: AnyOptimizer) -> dict[str, Any] | list[dict[str, Any]]:
    """The options of an optimizer, or of each of its groups, that say what a step is; the learning rate is apart."""
    groups = [
        {name: _plain(value) for name, value in group.items() if name not in _HOW_IT_IS_COMPUTED}
        for group in optimizer.param_groups
    ]
    # what is off is left out: one Adam has an option that another one lacks
    groups = [{name: value for name, value in group.items() if value not in (None, False)} for group in groups]
    return groups[0] if len(groups) == 1 else groups


def _plain(value: object) -> object:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else type(value).__qualname__


def _precision(place: Place) -> str | None:
    """The precision of the products where it is not that of the parameters, such as "bf16-mixed"."""
    name = None if place.fabric is None else str(place.fabric.strategy.precision.precision)
    return None if name is None or name.endswith("-true") else name


def _of_validation(validation: Validation) -> dict[str, Any]:
    names = ("every", "num_samples", "bound", "patience")
    return {"data": data_record(validation.data), **{name: getattr(validation, name) for name in names}}
