"""What an import writes before it has its name: a folder for one process, whole at the end or gone."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def importing(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, for this process alone; whatever is in it at the end is removed."""
    unfinished = target.with_name(f".{target.name}.part")
    lock = FileLock(target.parent.with_name(f".import-{target.name}.lock"))
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout as error:
        raise FileExistsError(
            f"{target.name} is being imported by another process. Wait for it, or choose another name."
        ) from error
    try:
        if target.exists() or target.is_symlink():
            raise FileExistsError(
                f"{target} exists already, and nothing is overwritten. Choose another name, or remove it."
            )
        if unfinished.is_dir() and not unfinished.is_symlink():
            shutil.rmtree(unfinished)
            warnings.warn(f"an import of {target.name} had broken off; what it left is removed.", stacklevel=4)
        with writing(target):
            unfinished.mkdir()
        try:
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        lock.release()


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Names `target` and the remedy in an error of the disk."""
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise type(error)(
            error.errno,
            f"{target} cannot be written ({error.strerror or error}); nothing of it is left. Make room, or name "
            "another folder in the environment variable REPARAM_DATA.",
        ) from error


def reserve(path: Path) -> None:
    """Takes the room on the disk that the size of a file claims: writing to a mapped file on a full disk kills."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("rb+") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # of file systems that do not know of it
                raise
