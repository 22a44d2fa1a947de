"""What a source holds to `Splits` of `Data`: which rows are for what, and how values become x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam._checks import choice, whole
from reparam.data.data import Data, Protocol
from reparam.data.protocols import PROTOCOLS as PROTOCOLS
from reparam.data.protocols import as_bits, from_text, name_of
from reparam.data.rows import is_sparse
from reparam.data.shapes import EventShape, shaped
from reparam.data.stored import Part, Stored

BINARIZATION_SEED = 20261122


@dataclass(frozen=True, eq=False)
class Splits:
    """Data in the parts that an experiment needs; `validation` is None where there is none.

    Attributes:
        train, validation, test: the parts.
        notes: what of the source was left out, or decided without being asked, each in one sentence.
    """

    train: Data
    validation: Data | None
    test: Data
    notes: tuple[str, ...] = ()

    def parts(self) -> dict[str, Data]:
        """The parts there are, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in found.items() if part is not None}


def split(
    stored: Stored,
    protocol: Protocol,
    event_shape: EventShape,
    *,
    validation: int | None,
    test: int | None,
    where: str,
) -> Splits:
    """The parts of a source as `Splits`, under the rules that `load_data` documents; `where` names it in errors."""
    choice("protocol", protocol, PROTOCOLS)
    if validation is not None:
        whole("validation", validation, least=0)
    parts = dict(stored.parts)
    own = parts.get("validation")
    if own is not None and validation is not None and validation != len(own.values):
        parts["train"], own = _joined(stored.train, own, validation, where), None
    train = _data(stored, parts["train"], protocol, event_shape, where)
    held_out = None if own is None else _data(stored, own, protocol, event_shape, where)
    if "test" in parts:
        if test is not None:
            raise ValueError(
                f"test is {test}; {where} has a test part of {len(parts['test'].values)} already. Leave test out."
            )
        tested = _data(stored, parts["test"], protocol, event_shape, where)
    else:
        size = min(10_000, max(1, len(train) // 10)) if test is None else whole("test", test)
        if size >= len(train):
            raise ValueError(f"test is {size} of {len(train)} examples; nothing is left to train.")
        train, tested = train.part(0, len(train) - size), train.part(len(train) - size, len(train))
    for name, part in (("test", tested), ("validation", held_out)):
        if part is not None and part.values.shape[1:] != train.values.shape[1:]:
            raise ValueError(
                f"{where} holds training examples of shape {tuple(train.values.shape[1:])} and {name} examples of "
                f"shape {tuple(part.values.shape[1:])}; they must be alike. Store both in one shape."
            )
    if own is None and validation:
        if validation >= len(train):
            raise ValueError(f"validation is {validation} of {len(train)} training images; nothing is left to train.")
        kept = len(train) - validation
        train, held_out = train.part(0, kept), train.part(kept, len(train))
    if protocol == "dynamic":
        tested = tested.binarized(BINARIZATION_SEED)
        held_out = held_out and held_out.binarized(BINARIZATION_SEED)
    return Splits(train, held_out, tested, (*stored.notes, *stored.warnings))


def _joined(train: Part, own: Part, validation: int, where: str) -> Part:
    """The rows for training and those for validation, these last, as one part."""
    if train.mapped or own.mapped or is_sparse(train.values) or is_sparse(own.values):
        raise ValueError(
            f"validation is {validation}; {where} has a validation part of {len(own.values)}, which cannot be joined "
            "with the training part without a copy. Leave validation out."
        )
    if train.values.shape[1:] != own.values.shape[1:] or train.values.dtype != own.values.dtype:
        raise ValueError(
            f"{where}: train and valid differ in shape or type: {tuple(train.values.shape[1:])} of "
            f"{name_of(train.values.dtype)} and {tuple(own.values.shape[1:])} of {name_of(own.values.dtype)}. Leave "
            "validation out."
        )
    labels = None if train.labels is None or own.labels is None else np.concatenate([train.labels, own.labels])
    names = None if train.names is None or own.names is None else (*train.names, *own.names)
    return Part(torch.cat([train.values, own.values]), labels, names)


def _data(stored: Stored, part: Part, protocol: Protocol, event_shape: EventShape, where: str) -> Data:
    values = part.values
    if values.dim() < 2 or 0 in values.shape:
        raise ValueError(f"{where} holds an array of shape {tuple(values.shape)}; it must be [N, ...] with N >= 1.")
    if stored.untyped:
        values = from_text(values, protocol)
    if protocol == "static" and not part.mapped:
        values = as_bits(values, source=where)
    return Data(
        shaped(values, event_shape, where, mapped=part.mapped, images=stored.images),
        protocol,
        _label_tensor(part.labels),
        mapped=part.mapped,
        classes=stored.classes,
        names=part.names,
        source=where,
    )


def _label_tensor(labels: Any) -> Tensor | None:
    return None if labels is None else torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
