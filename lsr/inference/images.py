"""Image files of a user: read by the rules of `lsr.core.pixels`, written whole."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.core.encoding import encode
from lsr.core.errors import InputError, NotFoundError
from lsr.core.files import write_whole
from lsr.core.pixels import Decoded, Rules, decode

MAX_INPUT_PIXELS = 100_000_000
MAX_INPUT_BYTES = 1 << 30


def read_image(source: Path | bytes, max_pixels: int = MAX_INPUT_PIXELS) -> Decoded:
    """A file or its bytes as an upright, opaque sRGB image of 8 bits; what was converted for it stands in `changes`.

    Raises NotFoundError for a missing file; InputError for what is no regular file of at most MAX_INPUT_BYTES, no
    whole image, or more than `max_pixels` by its header, which is read before any pixel is.
    """
    if isinstance(source, bytes):
        return decode(source, Rules(max_pixels=max_pixels), "The image")
    return decode(_read(source), Rules(max_pixels=max_pixels), str(source))


def load_image(source: Path | bytes, max_pixels: int = MAX_INPUT_PIXELS) -> NDArray[np.uint8]:
    """`read_image` as uint8 [H, W, 3]."""
    return read_image(source, max_pixels).rgb


def _read(path: Path) -> bytes:
    try:
        # Asked before opening: a pipe without a writer would wait for ever, a device never ends.
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} cannot be read: it must be a regular file, found a folder, pipe or device.")
        if found.st_size > MAX_INPUT_BYTES:
            raise InputError(f"{path} has {found.st_size} bytes, at most {MAX_INPUT_BYTES} are read; make it smaller.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no image {path}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error


def save_image(pixels: NDArray[np.uint8], path: Path, quality: int | None = None) -> None:
    """Write uint8 [H, W, 3] as the kind that the path's suffix names; the file appears whole or not at all.

    quality: as `lsr.core.encoding.encode` takes it. Raises InputError for a suffix or a size that no container has, and
    for a folder that cannot be written.
    """
    data = encode(pixels, path, quality)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error
