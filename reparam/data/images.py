"""Image files, read with Pillow into one array of bytes."""

from __future__ import annotations

import hashlib
import math
import struct
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reparam._files import NotRegular, open_regular
from reparam.data.claims import check_room
from reparam.data.stored import Colour as Colour

SUFFIXES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
    *(".avif", ".dib", ".j2k", ".jfif", ".jp2", ".jpe", ".pbm", ".pnm", ".tga"),
)
# what Pillow may take a file for, whatever its name is: it would hand PostScript to Ghostscript
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
_READ = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # Pillow's modes of at most 8 bits a channel
_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # what undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# all that Pillow raises on files that are broken or no images
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def scattered(names: Iterable[str]) -> list[str]:
    """Names in the order of their SHA-256: the same everywhere, and of no class or alphabet, so that the last ones may
    serve as a test."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())


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
        colour: what the images must be. Grey ones count as "rgb" of three equal channels, and such as grey.
        out: array to fill.

    Raises:
        ValueError: a broken image, one of another size, colour ones where grey is expected, transparency, 16 bits,
            several frames; the message names the file.
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
        # of a path Pillow maps an uncompressed TIFF, and garbles it if its orientation swaps width and height
        opened = open_regular(stream) if isinstance(stream, Path) else nullcontext(stream)
        with opened as file, _opened(file) as image:
            _check_kind(image, name)
            converted = _in_colour(_upright(image), name, colour)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} has vanished. Restore it, or read the folder again.") from None
    except NotRegular:
        raise
    except _KindError as error:
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


def _opened(stream: IO[bytes]) -> Image.Image:
    """An image whose header was read; one of more pixels than Pillow takes without a warning is an error."""
    Image.init()  # Pillow before 11.3 has no AVIF
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])


class _KindError(Exception):
    """An image of another kind than expected."""


def _check_kind(image: Image.Image, name: object) -> None:
    if image.mode not in _READ:
        raise _KindError(
            f"{name} has pixels {image.mode!r}; images must be grey or RGB, with 8 bits a channel. Convert the image "
            "first."
        )
    if image.format != "MPO" and getattr(image, "is_animated", False):  # an MPO is a photo with its preview
        raise _KindError(
            f"{name} holds {getattr(image, 'n_frames', 'several')} frames; an example is one image. Save each frame as "
            "a file of its own."
        )


def _upright(image: Image.Image) -> Image.Image:
    """The image as its camera was held, by the orientation in its EXIF data."""
    image.load()  # Pillow turns a TIFF here, and then removes its orientation
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, struct.error):  # EXIF data that nobody can read say nothing
        orientation = 1
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _in_colour(image: Image.Image, name: object, colour: Colour) -> Image.Image:
    """The image as "L" or "RGB", without an alpha channel that is 255 everywhere."""
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            raise _KindError(
                f"{name} has transparency; images must be opaque. Put it on a background first, such as "
                "Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB') with Pillow."
            )
    if colour == "rgb":
        return image.convert("RGB")
    if image.mode not in ("1", "L"):
        red, green, blue = image.convert("RGB").split()
        if not red.tobytes() == green.tobytes() == blue.tobytes():
            raise _KindError(
                f'{name} is in colour; grey is expected. Pass colour="rgb" (--colour rgb), or convert the images to '
                "grey."
            )
        return red
    return image.convert("L")
