"""The known name that a misspelt one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """What follows a message about an unknown name: the nearest known one, or all if they are not many."""
    by_lower = {each.lower(): each for each in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    if found:
        return f"The nearest is {by_lower[found[0]]}."
    return "" if len(by_lower) > 60 else f"There are: {', '.join(sorted(by_lower.values(), key=str.lower))}."
