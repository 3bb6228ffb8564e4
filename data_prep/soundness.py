"""Is this file a valid image, and what must change before it is archived?

Original bytes are kept where an sRGB reader would see the right 8-bit pixels; everything else is re-encoded without
loss as PNG. Hostile bytes never raise: each file is either Sound or Rejected with a reason, the same on every run.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from PIL import Image

from data_prep.config import ShardConfig
from data_prep.likeness import phash_of
from lsr.core.encoding import png
from lsr.core.headers import FORMATS
from lsr.core.pixels import Rules, UnreadableImageError, decode

PPM_HEADER_LINES = 3


@dataclass(frozen=True, slots=True)
class Sound:
    """An image fit for the archive. data: its encoded bytes, the original ones when `changes` is empty. ext: its
    format. content: sha256 over size and sRGB pixels, equal for equal images in different files. phash: perceptual
    hash, where near duplicates are asked for."""

    data: bytes
    ext: str
    width: int
    height: int
    content: str
    changes: tuple[str, ...]
    phash: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that is skipped, and why."""

    reason: str


def inspect(data: bytes, config: ShardConfig) -> Sound | Rejected:
    """Check one file whole: header, every pixel, orientation, colour space, depth, transparency, frames, size."""
    rules = Rules(max_pixels=config.max_pixels, min_side=config.min_side, alpha=config.alpha, animated=config.animated)
    try:
        found = decode(data, rules)
    except UnreadableImageError as error:
        return Rejected(str(error))
    image, ext = found.image, FORMATS[found.format]
    if found.changes:
        data, ext = png(np.asarray(image)), "png"
    phash = "" if config.near_duplicates is None else phash_of(image)
    return Sound(data, ext, image.width, image.height, content_hash(image), found.changes, phash)


def content_hash(image: Image.Image) -> str:
    """sha256 over width, height and the sRGB pixels of an image in mode L or RGB; grey counts as equal R, G and B."""
    pixels = _Pixels(image)
    image.save(cast(IO[bytes], pixels), "PPM")
    return pixels.digest.hexdigest()


class _Pixels(io.RawIOBase):
    """A file that takes an image as PPM and hashes its pixels: so Pillow hands out packed rows, piece by piece and
    without a copy, which costs half of what cutting the image into strips does.
    """

    def __init__(self, image: Image.Image) -> None:
        super().__init__()
        self.digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
        self._grey = image.mode == "L"
        self._header = PPM_HEADER_LINES

    def write(self, data: Any) -> int:
        if self._header:
            self._header -= bytes(data).count(b"\n")
        else:
            self.digest.update(np.repeat(np.frombuffer(data, np.uint8), 3).tobytes() if self._grey else data)
        return len(data)
