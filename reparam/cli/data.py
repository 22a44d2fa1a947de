"""`reparam data list|info|fetch|import`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from reparam.cli.options import Limits
from reparam.cli.show import print_json, print_table, say
from reparam.experiment.config import FROM_1

if TYPE_CHECKING:
    from reparam.data import Info

Colour = Literal["grey", "rgb"]
Size = Annotated[tuple[int, int] | None, Limits(FROM_1)]


def list_(json: bool = False) -> None:
    """Lists the data that have a name: published ones, and those imported.

    Args:
        json: Print one JSON object.
    """
    from reparam.data import listing

    found = listing()
    if json:
        print_json({"data": [asdict(each) for each in found]})
        return
    rows = [
        (
            each.name,
            f"{each.train:,}",
            f"{each.test:,}" if each.test else "last tenth",
            _shape(each.shape),
            "yes" if each.here else f"reparam data fetch {each.name}",
            each.licence,
        )
        for each in found
    ]
    print_table(("name", "train", "test", "shape", "here", "licence"), rows)


def info(
    source: tyro.conf.Positional[str],
    resize: Size = None,
    colour: Colour = "grey",
    array: str | None = None,
    labels: str | None = None,
    json: bool = False,
) -> None:
    """Says what is in data, and under which protocols they can be trained on.

    Args:
        source: Name of data, or path of a file or folder.
        resize: Height and width in pixels of the images of a folder.
        colour: Of the images of a folder.
        array: Name of the array to take from an .npz, .safetensors or .h5ad file that holds several.
        labels: Name of the array or column that holds the labels, or path of a file of labels.
        json: Print one JSON object.
    """
    from reparam.data import info as info_of

    _show(info_of(source, resize=resize, colour=colour, array=array, labels=labels), json)


def fetch(name: tyro.conf.Positional[str], json: bool = False) -> None:
    """Downloads published data into the cache; REPARAM_DATA names another folder for it.

    Args:
        name: As `reparam data list` has it.
        json: Print one JSON object.
    """
    from reparam.data import fetch as fetch_

    files = fetch_(name)
    if json:
        print_json({"name": name, "files": files})
        return
    for path in files:
        say(path)
    say(f"{name} is there. Train on it: reparam train gaussian --data {name}")


def import_(
    source: tyro.conf.Positional[str],
    name: tyro.conf.Positional[str],
    resize: Size = None,
    colour: Colour = "grey",
    array: str | None = None,
    labels: str | None = None,
    json: bool = False,
) -> None:
    """Copies data into the cache under a name, decoded once and for all.

    Args:
        source: Name of data, or path of a file or folder.
        name: Small letters, digits, and - or _ between them.
        resize: Height and width in pixels of the images of a folder.
        colour: Of the images of a folder.
        array: Name of the array to take from an .npz, .safetensors or .h5ad file that holds several.
        labels: Name of the array or column that holds the labels, or path of a file of labels.
        json: Print one JSON object.
    """
    from reparam.data import import_ as copy

    _show(copy(source, name, resize=resize, colour=colour, array=array, labels=labels), json)


def _show(found: Info, json: bool) -> None:
    if json:
        print_json(asdict(found))
        return
    rows = [
        ("train", f"{found.train:,} examples"),
        ("validation", f"{found.validation:,} examples" if found.validation else "none of its own"),
        ("test", f"{found.test:,} examples" if found.test else "none of its own: the last tenth serves"),
        ("shape", _shape(found.shape)),
        ("values", f"{found.dtype}, {found.least:g} to {found.largest:g}{', sparse' if found.sparse else ''}"),
        ("labels", _labels(found.labels)),
        ("names", "none" if found.first_name is None else f"such as {found.first_name}"),
        ("in memory", "no, mapped: it is large" if found.mapped else "yes"),
        ("protocols", ", ".join(found.protocols)),
        ("advice", found.advice),
        ("checksum", found.checksum),
        *(("note", note) for note in found.notes),
    ]
    print_table(("", found.source), rows)


def _labels(found: dict[str, int] | None) -> str:
    if found is None:
        return "none"
    shown = [f"{name or 'without a label'} {count:,}" for name, count in found.items()]
    return f"{len(found)} classes: {', '.join(shown[:10])}{', ...' if len(shown) > 10 else ''}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
