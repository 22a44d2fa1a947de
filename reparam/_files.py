"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> Path:
    """Writes a file so that whoever looks, after a crash too, finds the old content or the new, never a part.

    The bytes go to a temporary name beside it and to the disk, then the name is changed. Without `durable` the system
    writes to the disk when it likes to, so that a power failure may cost a file that can be made again.

    Raises:
        OSError: no room, no permission; the message names the file, whose old content is still there.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(unfinished, content, durable)
        unfinished.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise type(error)(
            error.errno, f"{path} cannot be written ({error.strerror}); what was there is untouched"
        ) from error
    return path


def _write(path: Path, content: bytes, durable: bool) -> None:
    with path.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def write_json(path: Path, values: Any) -> Path:
    """Plain values as JSON that a person can read."""
    return write_whole(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: something else in it.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}). Restore it as it was written.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, not an object with fields. Restore it.")
    return values


def append_line(path: Path, values: Any) -> None:
    """Appends plain values to a file as a line of JSON: in one write, so that lines of several processes do not mix.

    Raises:
        OSError: no room, no permission.
    """
    line = json.dumps(values, allow_nan=False).encode() + b"\n"
    with path.open("ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line  # the line before broke off
        file.write(line)
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects in the lines of a file; none if there is no file. A line that broke off is left out."""
    found: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with suppress(ValueError, RecursionError):
            values = json.loads(line)
            found += [values] if isinstance(values, dict) else []
    return found


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is; systems without folders as files have no need."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
