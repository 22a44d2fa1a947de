"""Folders of image files, read with Pillow into one array of bytes."""

from __future__ import annotations

import hashlib
import math
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reparam._files import NotRegular, check_regular
from reparam.data.claims import check_room

Colour = Literal["grey", "rgb"]
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# what Pillow may take a file for, whatever its name is: it would hand PostScript to Ghostscript
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GREY, _RGB = ("1", "L"), ("1", "L", "P", "RGB")
# all that Pillow raises on files that are broken or no images
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def scattered(names: Iterable[str]) -> list[str]:
    """Names in the order of their SHA-256: the same everywhere, and of no class or alphabet, so that the last ones may
    serve as a test."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def image_files(folder: Path) -> list[Path]:
    """Every image in a folder and those below it, in the order of `scattered`; hidden files are left out.

    Raises:
        ValueError: there is none.
    """
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    if not names:
        raise ValueError(f"{folder} holds no images. Expected: files ending in {', '.join(SUFFIXES)}, in it or below.")
    return [folder / name for name in scattered(names)]


def read_images(
    folder: Path,
    files: list[Path],
    resize: tuple[int, int] | None,
    colour: Colour,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The images as `[N, H, W]`, or `[N, 3, H, W]` for "rgb".

    Args:
        folder: named in errors.
        files: in order.
        resize: (H, W) to bring all to; if not given, all must have the size of the first.
        colour: what the images must be. Grey ones count as "rgb" of three equal channels, not the reverse.
        out: array to fill.

    Raises:
        ValueError: a broken image, one of another size, colour ones where grey is expected, transparency, 16 bits; the
            message names the file.
    """
    if out is None:
        shape = (len(files), *decode(files[0], files[0], resize, colour).shape)
        check_room(math.prod(shape), f"{folder} unpacks to", "Give a smaller size for all, such as resize=(28, 28).")
        out = np.empty(shape, np.uint8)
    for number, path in enumerate(files):
        pixels = decode(path, path, resize, colour)
        if pixels.shape != out.shape[1:]:
            raise ValueError(
                f"{path} is {pixels.shape[-2]} x {pixels.shape[-1]} pixels; {files[0].name}, the first of {folder}, is "
                f"{out.shape[-2]} x {out.shape[-1]}. Give a size for all, such as resize=(28, 28)."
            )
        out[number] = pixels
    return out


def decode(stream: Path | IO[bytes], name: object, resize: tuple[int, int] | None, colour: Colour) -> NDArray[np.uint8]:
    """One image as `[H, W]`, or `[3, H, W]` for "rgb"; `name` is for errors."""
    try:
        if isinstance(stream, Path):
            check_regular(stream)
        with _opened(stream) as image:
            _check_mode(image, name, colour)
            converted: Image.Image = image.convert("L" if colour == "grey" else "RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} has vanished. Restore it, or read the folder again.") from None
    except NotRegular:
        raise
    except _ModeError as error:
        raise ValueError(str(error)) from None
    except _TOO_LARGE as error:
        raise ValueError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS} pixels, and may unpack to more than memory holds. Shrink "
            "it, or raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except _BROKEN as error:
        raise ValueError(
            f"{name} is a broken image, or none ({type(error).__name__}: {error}). Repair or remove it."
        ) from error
    if resize is not None and converted.size != resize[::-1]:
        converted = converted.resize(resize[::-1], Image.Resampling.BILINEAR)  # Pillow's averages when it shrinks
    pixels: NDArray[Any] = np.asarray(converted, dtype=np.uint8)
    return pixels if colour == "grey" else pixels.transpose(2, 0, 1)


def _opened(stream: Path | IO[bytes]) -> Image.Image:
    """An image whose header was read; one of more pixels than Pillow takes without a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(stream, formats=FORMATS)


class _ModeError(Exception):
    """Pixels of another kind than expected."""


def _check_mode(image: Image.Image, name: object, colour: Colour) -> None:
    allowed = _GREY if colour == "grey" else _RGB
    if image.mode in allowed and "transparency" not in image.info:
        return
    if colour == "grey" and image.mode in ("RGB", "P"):
        raise _ModeError(f'{name} is in colour; grey is expected. Pass colour="rgb", or convert the images to grey.')
    what = "has transparency" if "A" in image.mode or "transparency" in image.info else f"has pixels {image.mode!r}"
    raise _ModeError(f"{name} {what}; images must be {colour} with 8 bits and opaque. Convert it first.")
