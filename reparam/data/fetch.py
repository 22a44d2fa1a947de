"""fetch: published data into the cache, through pooch."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Self

from reparam._checks import positive
from reparam._printable import printable, printable_errors
from reparam.data.sources import SOURCES, RemoteFile, Source

ROUNDS = 3
BACKOFF = 2.0  # seconds before the second round, twice that before the third
TIMEOUT = 30.0  # seconds without a byte


def cache_folder() -> Path:
    """Where fetched and imported data lie: `REPARAM_DATA`, else the user's cache folder of this system."""
    if chosen := os.environ.get("REPARAM_DATA"):
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("reparam"))


def known_source(name: str, more: tuple[str, ...] = ()) -> Source:
    """The published data of this name.

    Raises:
        ValueError: there are none; the message gives the nearest name, also of `more`.
    """
    if name in SOURCES:
        return SOURCES[name]
    names = (*SOURCES, *more)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there are no data named {name!r}. {hint}There are: {', '.join(names)}; or give a path.")


@printable_errors()
def fetch(
    source: str | Source, *, cache: str | Path | None = None, progress: bool | None = None, timeout: float = TIMEOUT
) -> tuple[Path, ...]:
    """Brings published data into the cache, where `load_data` finds them by name; what is there and whole stays.

    The mirrors of a file are tried in order, those with https first, up to three times, except one that does not have
    the file or serves something else. A download stops at the published size. A file appears in the cache under its
    name only when all of it is there and has the published checksum.

    Args:
        source: a name, see `listing()`, or a `Source` of your own.
        cache: folder instead of `REPARAM_DATA` or the user's cache.
        progress: whether to draw a bar; if not given, on a terminal.
        timeout: seconds without a byte after which a mirror is given up.

    Returns:
        The files.

    Raises:
        ValueError: an unknown name; the message gives the nearest.
        OSError: no mirror gave a file, or the cache cannot be written; the message says what each did, the checksum
            that is expected, and where to put the file by hand.
    """
    found = known_source(source) if isinstance(source, str) else source
    folder = (cache_folder() if cache is None else Path(cache)) / found.folder
    positive("timeout", timeout)
    try:
        if found.files:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the cache {folder} cannot be made ({error.strerror}). Name another folder in the environment variable "
            "REPARAM_DATA."
        ) from error
    return tuple(_fetch_file(file, folder, found.name, progress, timeout) for file in found.files)


def is_whole(file: RemoteFile, path: Path) -> bool:
    """Whether the file at `path` is the published one."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _fetch_file(file: RemoteFile, folder: Path, name: str, progress: bool | None, timeout: float) -> Path:
    path = folder / file.name
    if is_whole(file, path):
        return path
    failures: dict[str, str] = {}
    left = sorted(file.urls, key=lambda url: not url.startswith("https:"))
    for number in range(ROUNDS):
        if number:
            time.sleep(BACKOFF * number)
        for url in tuple(left):
            failure, again = _try(url, file, path, progress, timeout)
            if not failure:
                return path
            failures[url] = failure
            if not again:
                left.remove(url)
        if not left:
            break
    tried = "; ".join(f"{url}: {failure}" for url, failure in failures.items())
    raise OSError(
        f"{name}: {file.name} could not be fetched ({tried}). Expected: {file.size} bytes with sha256 {file.sha256}. "
        f"Check the connection and try again, or put the file at {path} by hand."
    )


def _try(url: str, file: RemoteFile, path: Path, progress: bool | None, timeout: float) -> tuple[str, bool]:
    """What went wrong, in a few words, or nothing; and whether another attempt may go better."""
    import pooch
    import requests

    with _bar(file.name, progress) as bar, _quiet():

        def load(url: str, output: str, _: object) -> None:
            _download(url, Path(output), file.size, bar, timeout)

        try:
            pooch.retrieve(url, f"sha256:{file.sha256}", file.name, path.parent, downloader=load)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            return f"HTTP {status}", status >= 500 or status == 429
        except requests.Timeout:
            return f"no answer within {timeout:g} s", True
        except requests.ConnectionError as error:
            slow = "timed out" in str(error)  # in the middle of a body, requests calls a timeout that
            return f"no answer within {timeout:g} s" if slow else "no connection", True
        except requests.RequestException:
            return "the answer broke off", True
        except ValueError as error:
            return str(error) if isinstance(error, _Longer) else "its content is not what was published", False
        except OSError as error:
            raise OSError(
                f"{path} cannot be written ({error.strerror or error}). Make room, or name another folder in the "
                "environment variable REPARAM_DATA."
            ) from error
    return "", False


class _Longer(ValueError):
    """A mirror sends more bytes than were published."""


def _download(url: str, path: Path, size: int, bar: _Bar | None, timeout: float) -> None:
    """Writes what a mirror sends, up to the published size; pooch then compares its checksum."""
    import requests

    # as stored: a server that packs what is packed already would have it unpacked here, with another checksum
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as answer, path.open("wb") as file:
        answer.raise_for_status()
        if bar is not None:
            bar.total = size
        left = size
        for chunk in answer.iter_content(2**16):
            left -= len(chunk)
            if left < 0:
                raise _Longer(f"it sends more than the published {size} bytes")
            file.write(chunk)
            if bar is not None:
                bar.update(len(chunk))


@contextmanager
def _quiet() -> Iterator[None]:
    """pooch tells of each download on stderr; here the bar does, or nothing."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _bar(name: str, wanted: bool | None) -> Iterator[_Bar | None]:
    import sys

    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield None
        return
    with _Bar(name) as bar:
        yield bar


class _Bar:
    """rich's bar."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(printable(name))
        self.total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, size: int) -> None:
        self._progress.update(self._task, total=self.total or None, advance=size)
