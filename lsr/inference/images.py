"""Pictures in files: any kind that Pillow reads -> uint8 RGB, and back."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lsr.core.errors import InputError, NotFoundError

MAX_INPUT_PIXELS = 100_000_000


def load_image(source: Path | bytes, max_pixels: int = MAX_INPUT_PIXELS) -> NDArray[np.uint8]:
    """A file or its bytes -> uint8 [H, W, 3], upright by its EXIF tag, transparency over white, 16 bit cut to 8.

    Raises NotFoundError for a missing file; InputError for what is no whole picture, or more than `max_pixels` by its
    header, which is read before any pixel is.
    """
    where = "The picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no picture {where}.") from error
    except OSError as error:
        raise InputError(f"{where} cannot be read ({error.strerror}).") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise InputError(
                        f"{where} has {width} x {height} pixels, at most {max_pixels} are read; make it smaller."
                    )
                return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(
            f"{where} is not a picture that can be read whole ({error}); use PNG, JPEG or WebP."
        ) from error


def save_image(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write uint8 [H, W, 3] as the kind that the path's suffix names; the file appears whole or not at all.

    Raises InputError for a suffix Pillow cannot write and a folder that cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(f"{path} must end in the suffix of a picture, such as .png, .jpg or .webp.")
    data = io.BytesIO()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        Image.fromarray(pixels).save(data, format=kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InputError(f"{path} cannot be written ({error}).") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image.convert("RGB")
