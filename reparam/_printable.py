"""Text from files and file names, made safe to print: a terminal obeys control characters wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

# C0, DEL and C1; the marks that reorder a line; what ends a line elsewhere; bytes of a name that are no UTF-8
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""`str(text)` in one line, with control characters, bidirectional marks and lone surrogates escaped.

    Returns:
        Text that a terminal shows and does not obey.

    Example:
        >>> print(printable("red\x1b[31m.npy"))
        red\x1b[31m.npy
    """
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


@contextmanager
def printable_errors() -> Iterator[None]:
    """Makes the messages of errors printable, for functions that name what they found on the user's disk."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        found: BaseException | None = error
        while found is not None:
            found.args = tuple(printable(each) if isinstance(each, str) else each for each in found.args)
            if isinstance(found, OSError) and isinstance(found.strerror, str):
                found.strerror = printable(found.strerror)
            found = found.__cause__
        raise
