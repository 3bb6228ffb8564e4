"""Images of 16 bits per channel to 8, rounded once and after their colours are in sRGB.

Pillow cuts 16-bit colour to its high bytes. Read a second time with the bytes of each number exchanged it gives the low
ones.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from lsr.core.colour import ROWS_AT_ONCE, Source, converter16
from lsr.core.curves import Levels8, Levels16
from lsr.core.headers import RejectedError, opened

_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_PHOTOMETRIC, _BITS, _PLANES = 262, 258, 284
_WHITE_IS_ZERO, _SEPARATE = 0, 2


@dataclass(frozen=True, slots=True)
class Reduced:
    """colour: mode L, RGB or CMYK. alpha: mode L, None for an opaque image. converted: whether the colours are sRGB by
    conversion."""

    colour: Image.Image
    alpha: Image.Image | None
    converted: bool


def raw_mode(image: ImageFile.ImageFile) -> str:
    """Pillow's name of how the file's numbers lie; empty once the image is decoded."""
    if not image.tile:
        return ""
    given = image.tile[0].args
    return str(given if isinstance(given, str) else given[0] if given else "")


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether a file that is not decoded yet has more than 8 bits per channel that Pillow hands out or cuts.

    Raises RejectedError for numbers without a defined range, and for 16 bits in separate planes.
    """
    raw = raw_mode(image)
    if image.mode == "F":
        raise RejectedError("has floating-point pixels without a defined range")
    if image.mode == "I" and image.format != "PPM":
        raise RejectedError(f"has signed or 32-bit whole numbers ({raw}) without a defined range as pixels")
    bits = getattr(image, "tag_v2", {}).get(_BITS, (8,))
    if max(bits) == 16 and len(bits) > 1 and getattr(image, "tag_v2", {}).get(_PLANES) == _SEPARATE:
        raise RejectedError("has 16-bit channels in separate planes, which are not read; store them interleaved")
    return image.mode.startswith("I") or ";16" in raw or _is_scaled(image)


def _is_scaled(image: ImageFile.ImageFile) -> bool:
    """Whether it is a binary PPM whose white is another number than 255, which Pillow reads number by number."""
    known = image.mode in ("L", "I", "RGB", "RGBA", "CMYK")
    return image.format == "PPM" and image.tile[0].codec_name == "ppm" and known


def read_deep(image: ImageFile.ImageFile, data: bytes, source: Source) -> Reduced:
    """A file of 16 bits per channel in 8 bits. image: the same file, opened and not decoded yet; it is decoded then.
    Raises RejectedError as `converter16` does.
    """
    raw = raw_mode(image)
    rows, kind = _reader(image, data, raw)
    channels = 1 if kind in ("L", "LA") else 4 if kind == "CMYK" else 3
    key = image.info.get("transparency") if kind in ("L", "RGB") else None
    clear = None if key is None else np.atleast_1d(np.asarray(key, dtype=np.int64))
    convert = None if kind == "CMYK" else converter16(source, channels)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    has_alpha = clear is not None or len(kind) > channels
    reduced = Reduced(
        Image.new(mode, image.size), Image.new("L", image.size) if has_alpha else None, converted=convert is not None
    )
    # In bands, so that memory is that of the file's numbers and of the result.
    for top in range(0, image.height, ROWS_AT_ONCE):
        band = rows(top, min(top + ROWS_AT_ONCE, image.height))
        levels = band[..., :channels]
        _paste(reduced.colour, rounded(levels) if convert is None else convert(levels), top)
        if reduced.alpha is not None:
            hidden = None if clear is None else (levels == clear).all(axis=-1, keepdims=True)
            _paste(reduced.alpha, rounded(band[..., channels:]) if hidden is None else _opaque(hidden), top)
    return reduced


Rows = Callable[[int, int], Levels16]


def _paste(image: Image.Image, band: Levels8, top: int) -> None:
    flat = np.ascontiguousarray(band[..., 0] if band.shape[2] == 1 else band)
    height, width = flat.shape[:2]
    image.paste(Image.frombuffer(image.mode, (width, height), flat.tobytes()), (0, top))


def _opaque(hidden: NDArray[np.bool_]) -> Levels8:
    return np.where(hidden, 0, 255).astype(np.uint8)


def rounded(levels: Levels16) -> Levels8:
    """uint16 -> uint8: the nearest of 256 levels, as 65535 is 255."""
    # (levels + 128) // 257 without a division, equal for every level.
    return ((levels.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def _reader(image: ImageFile.ImageFile, data: bytes, raw: str) -> tuple[Rows, str]:
    """A function from rows to uint16 [h, W, C] of the file, which is decoded here, and what the C channels are."""
    if _is_scaled(image):
        return _scaled(image, data), raw
    if image.mode.startswith("I"):
        return _grey(image, raw), "L"
    if raw.startswith("LA;16"):
        # Four bytes per pixel, as 8-bit RGBA has: one reading gives them all.
        _load_as(image, "RGBA")
        return lambda top, end: _band(image, top, end).view(">u2").astype(np.uint16), "LA"
    kind, byte = raw.split(";16")
    straight = kind.replace("a", "A")
    _load_as(image, f"{straight};16{byte}")
    with opened(data) as low:
        _load_as(low, f"{straight};16{_OTHER_BYTE[byte]}")

    def rows(top: int, end: int) -> Levels16:
        band = _band(low, top, end).astype(np.uint16)
        band += np.left_shift(_band(image, top, end), 8, dtype=np.uint16)
        return _straight(band) if kind == "RGBa" else band

    return rows, "RGB" if kind == "RGBX" else kind


def _straight(band: Levels16) -> Levels16:
    """Colours of premultiplied ones."""
    alpha = np.maximum(band[..., 3:].astype(np.float64), 1)
    colour = (band[..., :3] * (65535 / alpha)).round().clip(0, 65535)
    return np.concatenate([colour.astype(np.uint16), band[..., 3:]], axis=-1)


def _grey(image: ImageFile.ImageFile, raw: str) -> Rows:
    inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    image.load()

    def rows(top: int, end: int) -> Levels16:
        levels = np.asarray(image.crop((0, top, image.width, end))).astype(np.uint32)[..., None]
        # 12 bits are stored as they are: 4095 is white.
        levels = (levels * 65535 + 2047) // 4095 if raw.startswith("I;12") else levels
        return (65535 - levels if inverted else levels).astype(np.uint16)

    return rows


def _scaled(image: ImageFile.ImageFile, data: bytes) -> Rows:
    raw, white = cast(tuple[str, int], image.tile[0].args)
    shape = (image.height, image.width, len(Image.getmodebandnames(raw)))
    kind = ">u2" if white > 255 else "u1"
    numbers = np.frombuffer(data, kind, math.prod(shape), image.tile[0].offset).reshape(shape)

    def rows(top: int, end: int) -> Levels16:
        levels: NDArray[np.uint32] = np.minimum(numbers[top:end], white).astype(np.uint32)
        return ((levels * 65535 + white // 2) // white).astype(np.uint16)

    return rows


def _load_as(image: ImageFile.ImageFile, raw: str) -> None:
    """Decode the file with its numbers read as `raw`."""
    image.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:])) for tile in image.tile
    ]
    image.load()


def _band(image: Image.Image, top: int, end: int) -> NDArray[np.uint8]:
    return np.asarray(image.crop((0, top, image.width, end)))
