"""A training that cannot begin leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"


@contextmanager
def left_as_it_was(folder: Path) -> Iterator[None]:
    """Removes, after an error, the lock and the folders that were made for a run of which nothing is there.

    A folder that another process has locked, or that holds anything but the lock, is not touched.
    """
    folder = folder.absolute()
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError, Timeout):
            if [each.name for each in folder.iterdir()] == [LOCK]:
                with FileLock(folder / LOCK, timeout=0):
                    (folder / LOCK).unlink()
        for each in made:  # from the inside out; one that is not empty stays
            with suppress(OSError):
                each.rmdir()
        raise
