"""What a file or a folder holds, before a protocol gives it a meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from reparam.data.arrays import as_tensor, is_mapped

Colour = Literal["grey", "rgb"]
PartName = Literal["train", "validation", "test"]
ORDER: tuple[PartName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Choice:
    """Which of the things in a source to take, and how; the arguments of `load_data` with these names.

    Attributes:
        array: name of the array of values.
        labels: name of the labels in the source, or path of a file of labels.
        resize: (height, width) of images in a folder.
        colour: of images in a folder.
    """

    array: str | None = None
    labels: str | None = None
    resize: tuple[int, int] | None = None
    colour: Colour = "grey"


@dataclass(frozen=True, eq=False)
class Part:
    """Rows for one purpose.

    Attributes:
        values: `[N, *event]`, dense or CSR.
        labels: `[N]`, as stored: whole numbers, or texts.
        names: name of each row, if rows have names.
        mapped: whether the values lie in a mapped file.
    """

    values: Tensor
    labels: NDArray[Any] | None = None
    names: tuple[str, ...] | None = None
    mapped: bool = False


@dataclass(frozen=True, eq=False)
class Stored:
    """What a source holds.

    Attributes:
        parts: the rows for training, and those that the source itself sets apart for validation and for testing.
        classes: names of classes that the source gives beside whole numbers as labels.
        untyped: whether the numbers come from a text, which has no types.
        images: whether the values are images with their channels first, as image files are read.
        notes: what was left out, or decided without being asked, each in one sentence.
        warnings: those of them that a user should see without asking for them.
    """

    parts: dict[PartName, Part]
    classes: tuple[str, ...] | None = None
    untyped: bool = False
    images: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def train(self) -> Part:
        """The rows for training."""
        return self.parts["train"]


def part_of(array: NDArray[Any] | Tensor, source: str, labels: Any = None, names: Any = None) -> Part:
    """Rows of an array as a `Part`.

    Raises:
        TypeError: an array of something else than numbers.
    """
    return Part(as_tensor(array, source), labels, names, is_mapped(array))
