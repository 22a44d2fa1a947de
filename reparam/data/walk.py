"""Every file below a folder, links followed, each folder once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reparam.data.images import SUFFIXES, scattered

# endings of images that are not read: a folder with some of these is missing examples
_OTHER_IMAGES = (
    ".arw", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".exr", ".fits", ".hdr", ".heic", ".heif", ".ico", ".jxl", ".nef",
    ".orf", ".pcx", ".psd", ".raw", ".svg", ".xcf",
)  # fmt: skip


@dataclass
class Found:
    """What there is below a folder.

    Attributes:
        folder: where it was looked for.
        images: paths of the images relative to the folder, in the order of `scattered`.
        others: files without an ending of images, relative to the folder.
        hidden: how many files and folders have a name that begins with a dot.
        again: links to folders that had been read before, relative to the folder.
    """

    folder: Path
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: int = 0
    again: list[str] = field(default_factory=list)

    def files(self) -> list[Path]:
        """The images as paths."""
        return [self.folder / name for name in self.images]

    def notes(self) -> tuple[list[str], list[str]]:
        """What is left out, in sentences, and those of them that mean missing examples."""
        endings = Counter(Path(name).suffix.lower() or "without an ending" for name in self.others)
        counted = {ending: f"{number} {ending}" for ending, number in endings.most_common()}
        unread = [text for ending, text in counted.items() if ending in _OTHER_IMAGES]
        plain = [text for ending, text in counted.items() if ending not in _OTHER_IMAGES]
        hidden = [str(self.hidden)] if self.hidden else []
        notes = left_out(self.folder, "files that are no images", plain)
        notes += left_out(self.folder, "hidden files and folders", hidden)
        warnings = left_out(self.folder, "links to folders that are read already", self.again)
        return notes, warnings + left_out(self.folder, "images of a kind that is not read, to be converted,", unread)


def left_out(folder: Path, what: str, names: Sequence[str]) -> list[str]:
    """The sentence for what is left out of a folder, if there is something."""
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return [f"{folder}: {what} are left out: {shown}."] if names else []


def found_in(folder: Path) -> Found:
    """All files in `folder` and below.

    Links to files and folders are followed. A folder that several links reach is read once, under its own name if that
    is below `folder` too; so a link to a folder above it ends there.
    """
    found = Found(folder)
    seen: set[str] = set()
    links = _read(folder, "", found, seen)
    while links:  # after all that is really here
        name = links.pop(0)
        if os.path.realpath(folder / name) in seen:
            found.again.append(name)
        else:
            links += _read(folder / name, f"{name}/", found, seen)
    found.images = scattered(found.images)
    found.others.sort()
    return found


def _read(folder: Path, prefix: str, found: Found, seen: set[str]) -> list[str]:
    """Notes the files of a folder and of those in it; returns the links to folders, to be followed later."""
    seen.add(os.path.realpath(folder))
    links: list[str] = []
    inside: list[str] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            name = prefix + entry.name
            if entry.name.startswith("."):
                found.hidden += 1
            elif entry.is_dir():
                (links if entry.is_symlink() else inside).append(name)
            elif (entry.is_file() or entry.is_symlink()) and Path(entry.name).suffix.lower() in SUFFIXES:
                found.images.append(name)
            else:
                found.others.append(name)
    for name in inside:
        path = found.folder / name
        if os.path.realpath(path) in seen:  # a junction of Windows is no symbolic link
            found.again.append(name)
        else:
            links += _read(path, f"{name}/", found, seen)
    return links
