"""The run-time check of jaxtyping's shapes: those alone, so that wrong types meet the library's own errors."""

from typing import Any

from beartype import beartype


def check(function: Any) -> Any:
    """beartype on the annotations that name a shape."""
    function.__annotations__ = {k: v for k, v in function.__annotations__.items() if "Float[" in str(v)}
    return beartype(function)
