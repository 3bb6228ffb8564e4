"""Decoding pictures of our own shards."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lsr.core.errors import IntegrityError

# Suffixes that are clearly pictures, in the order in which a sample with several of them is searched.
IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "jpe", "jfif", "webp", "tif", "tiff", "bmp", "gif", "ppm", "pgm", "pbm", "avif")

# Pillow's names of their formats, tiles' own first: it tries them one after the other.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")


@contextmanager
def pixel_limit(pixels: int | None) -> Iterator[None]:
    """Let Pillow open pictures of at most `pixels` (None: any number) and refuse larger ones by their header.

    Pillow's limit is a module variable: one thread a process may hold this block.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def decode_rgb(data: bytes, where: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], sRGB, of an encoded picture. Raises IntegrityError naming `where` when it does not decode."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            # convert copies the pixels even where there is nothing to convert.
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception as error:
        raise IntegrityError(f"{where} does not decode as a picture: {error}; run `lsr data verify`.") from error


def decode_reduced(data: bytes, where: str, side: int) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] of an encoded picture, upright and reduced to fit a square of `side` pixels, never enlarged.

    For looking at, not for measuring: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, the smallest that still leaves
    twice the pixels a side that are wanted, and differs from the whole one reduced (docs/data.md has by how much).
    Other formats are decoded whole. Transparency is put on white. Holds `pixel_limit`, so one thread a process.
    Raises IntegrityError naming `where` when it does not decode.
    """
    try:
        with pixel_limit(None), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            # Of a picture that is not decoded yet, thumbnail asks the decoder for a reduced one.
            if image.mode in ("L", "RGB", "CMYK"):
                image.thumbnail((side, side))
            upright = _rgb(ImageOps.exif_transpose(image))
            upright.thumbnail((side, side))
            return np.asarray(upright)
    except Exception as error:
        raise IntegrityError(f"{where} does not decode as a picture: {error}; replace the file.") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image.convert("RGB")


def picture_of(members: Mapping[str, bytes], where: str) -> bytes:
    """The encoded picture among a sample's members. Raises IntegrityError naming `where` when there is none."""
    for suffix in IMAGE_SUFFIXES:
        if suffix in members:
            return members[suffix]
    raise IntegrityError(f"{where} holds no picture; its members are {', '.join(sorted(members)) or 'none'}.")
