"""Files that the tests of data read."""

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (50, 4, 3), np.uint8)


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\x00\x00\x08" + bytes([array.ndim]) + sizes + array.tobytes()


def save_image(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path) if mode else Image.fromarray(pixels).save(path)
