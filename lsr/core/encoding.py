"""Arrays to image files, in containers that hold every pixel."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lsr.core.errors import InputError

QUALITY = 95


@dataclass(frozen=True, slots=True)
class Container:
    """format: Pillow's name. longest: the most pixels per side. lossy: options of the lossy form, where there is one;
    its quality is added. lossless: options of the lossless form, None where there is none."""

    format: str
    longest: int
    lossless: dict[str, Any] | None
    lossy: dict[str, Any] | None = None


_JPEG = Container("JPEG", 65_500, None, {"subsampling": "4:4:4", "optimize": True})
_TIFF = Container("TIFF", 1 << 31, {"compression": "tiff_adobe_deflate"})
CONTAINERS = {
    ".png": Container("PNG", 1 << 31, {}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Container("WEBP", 16_383, {"lossless": True}, {}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Container("BMP", 1 << 31, {}),
    ".ppm": Container("PPM", 1 << 31, {}),
    ".avif": Container("AVIF", 16_384, None, {"subsampling": "4:4:4"}),
}


def png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of uint8 [H, W, 3] or [H, W], without metadata: equal pixels and an equal zlib give equal bytes."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return out.getvalue()


def container_of(path: Path, size: tuple[int, int] | None = None) -> Container:
    """The container that the path's suffix names. size: (height, width) that it must hold, where it is known.

    Raises InputError for a suffix that names none, and for a side that it cannot hold.
    """
    found = CONTAINERS.get(path.suffix.lower())
    if found is None:
        raise InputError(f"{path} must end in {', '.join(CONTAINERS)}, found {path.suffix or 'no suffix'!r}.")
    if size is not None and max(size) > found.longest:
        raise InputError(
            f"{path}: {found.format} holds at most {found.longest} pixels per side, found {size[1]} x {size[0]}; "
            "choose .png or .tif."
        )
    return found


def encode(pixels: NDArray[np.uint8], path: Path, quality: int | None = None) -> bytes:
    """The file of uint8 [H, W, 3] that the path's suffix names. quality: 1 .. 100 of a lossy file.

    Without a quality a file is lossless where its container can be, else of QUALITY and without chroma subsampling.
    Raises InputError as `container_of` does, and for a quality that the container does not have.
    """
    container = container_of(path, pixels.shape[:2])
    if container.lossless is not None and quality is None:
        options = container.lossless
    elif container.lossy is not None:
        options = {**container.lossy, "quality": QUALITY if quality is None else quality}
    else:
        raise InputError(f"{path}: {container.format} is lossless and takes no quality, found {quality}; leave it out.")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, container.format, **options)
    return out.getvalue()
