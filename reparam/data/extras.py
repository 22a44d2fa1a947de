"""Packages that are imported where a file needs them."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType


def needed(module: str, extra: str, path: Path) -> ModuleType:
    """The module that reads `path`.

    Raises:
        ImportError: it is not installed; the message has the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{path} is read with {module.partition('.')[0]}, which is not installed. "
            f"Run: pip install 'reparam[{extra}]'."
        ) from error
