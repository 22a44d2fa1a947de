"""What the names of arrays, files and columns say: `x_train`, `test-labels`, `valid`, `train-images.idx3-ubyte`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reparam.data.stored import PartName

Kind = Literal["values", "labels", "classes"]

_PARTS: dict[str, PartName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "t10k"), "test"),
}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("x", "data", "image", "images", "img", "imgs", "pixels", "features", "inputs"), "values"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets"), "labels"),
    **dict.fromkeys(("classes", "categories"), "classes"),
}
LABEL_COLUMNS = ("label", "labels", "class", "target")
NAME_COLUMNS = ("", "id", "index", "name", "file", "filename", "file_name", "path")


@dataclass(frozen=True)
class Role:
    """What a name stands for: values or labels, of a part or, with None, of all rows."""

    part: PartName | None
    kind: Kind


def role_of(name: str) -> Role | None:
    """The role that a name has by its words; None for any other name."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    words = [word for word in words if not re.fullmatch(r"idx\d|ubyte", word)]
    if len(words) == 1 and (joined := re.fullmatch(r"([xy])(train|val|valid|dev|test)", words[0])):
        words = list(joined.groups())
    parts = [_PARTS[word] for word in words if word in _PARTS]
    kinds = [_KINDS[word] for word in words if word in _KINDS]
    if not words or len(parts) > 1 or len(kinds) > 1 or len(parts) + len(kinds) < len(words):
        return None
    return Role(parts[0] if parts else None, kinds[0] if kinds else "values")


def part_named(name: str) -> PartName | None:
    """The part that a folder of this name holds."""
    return _PARTS.get(name.lower())


def by_role(names: Mapping[str, str], source: str) -> dict[Role, str]:
    """Which name has which role; names without one are left out.

    Args:
        names: each name with the part of it that says the role, such as a file's name with its stem.
        source: what an error calls the place of these names.

    Raises:
        ValueError: two names of one role.
    """
    found: dict[Role, str] = {}
    for name, words in names.items():
        role = role_of(words)
        if role is None:
            continue
        if role in found:
            part = f" of the {role.part} part" if role.part else ""
            raise ValueError(
                f"{source} holds {found[role]} and {name}, which may both be the {role.kind}{part}. Rename or remove "
                "one, or give the name of one array by array= (--array)."
            )
        found[role] = name
    return found
