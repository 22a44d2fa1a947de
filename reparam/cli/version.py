"""`reparam version`."""

from __future__ import annotations


def version(json: bool = False) -> None:
    """Prints the version.

    Args:
        json: Print one JSON object, with the versions of torch and Python.
    """
    import platform
    from importlib.metadata import version as version_of

    from reparam._version import __version__
    from reparam.cli.show import print_json

    if json:
        print_json({"reparam": __version__, "torch": version_of("torch"), "python": platform.python_version()})
    else:
        print(__version__)
