"""How a message shows a value that somebody passed."""

from __future__ import annotations

_MOST = 80


def shown(value: object) -> str:
    """A value for a message of one line: tensors and arrays by their shape, a long text cut off."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"a {type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _MOST else f"{text[:_MOST]} ..."
