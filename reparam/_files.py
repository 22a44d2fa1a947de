"""Files that are read and written safely: whole or not at all, regular files only, never through a planted link."""

from __future__ import annotations

import json
import os
import secrets
import stat
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from reparam._printable import printable

UNFINISHED = ".reparam-*.part"  # temporary names; what is left of them after a kill is removed with a run's files
LARGEST_JSON = 2**24
# Windows has no links that `open` could be kept from following, and opens text files unless told otherwise.
_NO_LINK, _BINARY = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegular(ValueError):
    """A folder, a named pipe, a socket or a device in the place of a file."""


def check_regular(path: Path) -> None:
    """Refuses what is not a regular file: opening a pipe may wait for ever, and a device may have no end.

    Raises:
        FileNotFoundError: no such file.
        NotRegular: the message says what is there.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a special file")
        raise NotRegular(f"{path} is {kind}; only regular files are read. Copy the content into a file, and name that.")


def open_regular(path: Path) -> BinaryIO:
    """A regular file, open for reading bytes.

    Raises:
        OSError: no such file, no permission.
        NotRegular: a folder, a pipe, a socket or a device.
    """
    check_regular(path)
    return path.open("rb")


def open_own(path: Path, mode: str) -> IO[Any]:
    """A file that the program wrote itself, open for writing; a link in its place is not followed.

    Args:
        path: of the file.
        mode: as for `open`, such as "a"; text is UTF-8.

    Raises:
        ValueError: a link, a pipe, a socket or a device is in its place.
        OSError: no such file, no permission.
    """
    if path.is_symlink():
        raise ValueError(f"{path} is a link; the program writes its own files only, not through links. Remove it.")
    if path.exists():
        check_regular(path)
    return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=_without_links)


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | _NO_LINK, 0o666)


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> Path:
    """Writes a file so that whoever looks, after a crash too, finds the old content or the new, never a part.

    The bytes go to a new file of a random name beside `path` and to the disk, then the name is changed. A link at
    `path` is replaced, and its target is left alone. Without `durable` the system writes to the disk when it likes to,
    so that a power failure may cost a file that can be made again.

    Raises:
        OSError: no room, no permission; the message names the file, whose old content is still there.
    """
    unfinished = path.with_name(UNFINISHED.replace("*", secrets.token_hex(8)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: the file is new, and no link that somebody put there
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY, 0o666)
        try:
            _write(handle, content, durable)
            unfinished.replace(path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
    except OSError as error:
        raise type(error)(
            error.errno, f"{path} cannot be written ({error.strerror}); what was there is untouched"
        ) from error
    if durable:
        _sync_folder(path.parent)
    return path


def _write(handle: int, content: bytes, durable: bool) -> None:
    with open(handle, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def remove_unfinished(folder: Path) -> None:
    """Removes what writes left in a folder that were killed. Nobody else may be writing there."""
    for path in folder.glob(UNFINISHED):
        if not path.is_dir():
            path.unlink()


def write_json(path: Path, values: Any) -> Path:
    """Plain values as JSON that a person can read."""
    return write_whole(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no regular file, more than 16 MiB, or something else in it.
    """
    with open_regular(path) as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ValueError(f"{path} has more than {LARGEST_JSON >> 20} MiB, and is no file of a run. Restore it.")
    try:
        values = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}). Restore it as it was written.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, not an object with fields. Restore it.")
    return values


def append_line(path: Path, values: Any) -> None:
    """Appends plain values to a file as a line of JSON: in one write, so that lines of several processes do not mix.

    Raises:
        ValueError: a link, a pipe or a device is in the place of the file.
        OSError: no room, no permission.
    """
    line = json.dumps(values, allow_nan=False).encode() + b"\n"
    with open_own(path, "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line  # the line before broke off
        file.write(line)
        file.flush()
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
    """Brings a change of names to the disk; systems without folders as files have no need.

    The file itself is on the disk and has its name already, so a folder that cannot be synced, as on some network file
    systems, is reported and the program goes on.
    """
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        text = f"the folder {folder} cannot be synced ({error.strerror}): its files are written, but a power failure"
        warnings.warn(printable(f"{text} may take the newest ones away again."), stacklevel=2)
