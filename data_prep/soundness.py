"""Is this file a sound picture, and what must change before it is archived?

Original bytes are kept where an sRGB reader would see the right 8-bit pixels; everything else is re-encoded without
loss as PNG. Hostile bytes never raise: each file is either Sound or Refused with a reason, the same on every run.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data_prep.colour import to_srgb
from data_prep.config import ShardConfig
from data_prep.likeness import look_of
from lsr.data.pixels import pixel_limit

# Pillow's name of a format and the extension its files get in a shard.
FORMATS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "TIFF": "tif",
    "BMP": "bmp",
    "GIF": "gif",
    "PPM": "ppm",
    "AVIF": "avif",
}
ORIENTATION = 0x0112
PPM_HEADER_LINES = 3


@dataclass(frozen=True, slots=True)
class Sound:
    """A picture fit for the archive. data: its encoded bytes, the original ones when `changes` is empty. ext: its
    format. content: sha256 over size and sRGB pixels, equal for equal pictures in different files. look: perceptual
    hash, where near duplicates are asked for."""

    data: bytes
    ext: str
    width: int
    height: int
    content: str
    changes: tuple[str, ...]
    look: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is left out, and why."""

    reason: str


class _RefusedError(Exception):
    pass


def inspect(data: bytes, config: ShardConfig) -> Sound | Refused:
    """Check one file whole: header, every pixel, orientation, colour space, depth, transparency, frames, size.

    The header is held against `max_pixels` before anything is decoded. One thread a process: Pillow's limit is global.
    """
    if not data:
        return Refused("The file is empty.")
    try:
        with pixel_limit(config.max_pixels):
            return _inspect(data, config)
    except _RefusedError as refused:
        return Refused(str(refused))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Refused(f"Its header announces more than max_pixels = {config.max_pixels} pixels.")
    except UnidentifiedImageError:
        return Refused(f"It is not a picture of a known format ({', '.join(sorted(set(FORMATS.values())))}).")
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever the hostile bytes lead them to; addresses would make reasons differ.
        text = re.sub(r"<[^>]*>|0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")
        return Refused(f"It does not decode: {' '.join(text.split())}.")


def _inspect(data: bytes, config: ShardConfig) -> Sound:
    with Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name != "MPO"]) as image:
        ext = FORMATS[image.format or ""]
        _check_side(image, config)
        changes = _header_changes(image, config)
        image.load()
        turned = ImageOps.exif_transpose(image) if "orientation" in changes else image
        pixels, changed = _to_grey_or_rgb(turned, config)
        changes += changed
        if changes:
            data, ext = _png(pixels), "png"
        look = "" if config.near_duplicates is None else look_of(pixels)
        return Sound(data, ext, pixels.width, pixels.height, content_hash(pixels), tuple(changes), look)


def _check_side(image: Image.Image, config: ShardConfig) -> None:
    if min(image.size) < config.min_side:
        raise _RefusedError(f"Its shorter side is {min(image.size)} pixels, below min_side = {config.min_side}.")


def _header_changes(image: Image.Image, config: ShardConfig) -> list[str]:
    """What the file says, before its pixels are looked at, must change: frames, depth, orientation."""
    changes = []
    # A phone's MPO is a still JPEG with a second view behind it.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        if config.animated == "refuse":
            raise _RefusedError("It has several frames, and `animated` is 'refuse'.")
        changes.append("first frame")
    # Pillow decodes 16-bit colour to 8 bit by itself; only the raw mode of its tiles tells.
    if ";16" in repr(getattr(image, "tile", "")):
        changes.append("8 bit")
    # Pillow decodes a PNG when it is asked for its tags, and one that has failed to decode does not fail again.
    if image.format == "PNG":
        image.load()
    # Asked before decoding, because Pillow turns TIFFs while it decodes them.
    if _orientation(image) in range(2, 9):
        changes.append("orientation")
    return changes


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        # Damaged metadata round sound pixels: the picture stands as it is stored.
        return 1


def _to_grey_or_rgb(image: Image.Image, config: ShardConfig) -> tuple[Image.Image, list[str]]:
    """8-bit sRGB in mode L or RGB, and what had to change."""
    changes = []
    if image.mode.startswith("I"):
        image, changes = _eight_bit(image), ["8 bit"]
    elif image.mode == "F":
        raise _RefusedError("Its pixels are floating-point numbers without a defined range.")
    alpha = _alpha(image, config)
    colour = _base_mode(image)
    if colour.mode != image.mode:
        changes.append(f"mode {image.mode}")
    converted = to_srgb(colour, image.info.get("icc_profile"))
    if converted is not None:
        colour = converted
        changes.append("sRGB")
    elif colour.mode == "CMYK":
        colour = colour.convert("RGB")
        changes.append("mode CMYK")
    if alpha is not None:
        ground = Image.new("RGB", colour.size, config.alpha)
        ground.paste(colour.convert("RGB"), mask=alpha)
        colour = ground
        changes.append(f"alpha on {config.alpha}")
    return colour, changes


def _base_mode(image: Image.Image) -> Image.Image:
    """The colours alone, in L, RGB or CMYK."""
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("LA").convert("L") if image.mode == "La" else image.convert("L")
    return image.convert("RGBA").convert("RGB") if image.mode in ("RGBa", "P", "PA") else image.convert("RGB")


def _alpha(image: Image.Image, config: ShardConfig) -> Image.Image | None:
    """The alpha channel if any pixel is transparent."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    low, _ = alpha.getextrema()
    if low == 255:
        return None
    if config.alpha == "refuse":
        raise _RefusedError("It has transparent pixels, and `alpha` is 'refuse'.")
    return alpha


def _eight_bit(image: Image.Image) -> Image.Image:
    deep = np.asarray(image).astype(np.int64)
    if deep.min() < 0 or deep.max() > 65535:
        raise _RefusedError(f"Its pixels range from {deep.min()} to {deep.max()}, outside 16 bits.")
    return Image.fromarray(((deep + 128) // 257).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    # A fresh image: Pillow would carry the old profile and metadata over.
    out = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(out, "PNG")
    return out.getvalue()


def content_hash(image: Image.Image) -> str:
    """sha256 over width, height and the sRGB pixels of an image in mode L or RGB; grey counts as equal R, G and B."""
    pixels = _Pixels(image)
    image.save(cast(IO[bytes], pixels), "PPM")
    return pixels.digest.hexdigest()


class _Pixels(io.RawIOBase):
    """A file that takes a picture as PPM and hashes its pixels: so Pillow hands out packed rows, piece by piece and
    without a copy, which costs half of what cutting the picture into strips does.
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
