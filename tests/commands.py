"""The command line, called in this process, on data small enough for that."""

import numpy as np

from reparam import cli

SMALL = ("--hidden", 8, "--epochs", 1, "--batch-size", 60, "--final-samples", 2)


def save_images(path, number=200, shape=(8, 8), seed=0):
    values = np.random.default_rng(seed).random((number, *shape)) ** 3
    np.save(path, (255 * values).astype(np.uint8))
    return path


def call(capsys, *arguments):
    """Exit code, standard output and standard error."""
    code = 0
    capsys.readouterr()
    try:
        cli.main([str(each) for each in arguments])
    except SystemExit as left:
        code = left.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err
