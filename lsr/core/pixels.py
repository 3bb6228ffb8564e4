"""Image files to arrays and back, by one set of rules for training, evaluation, inference and serving.

A decoded image is upright, sRGB, 8 bits per channel, opaque, grey or RGB. What a file holds otherwise is converted in
this order: 16 bits are kept until the colours are sRGB, then rounded; transparency goes over one colour; the EXIF
orientation is applied.
"""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError

from lsr.core.colour import Source, to_srgb
from lsr.core.depth import Reduced, is_deep, raw_mode, read_deep
from lsr.core.errors import InputError, IntegrityError
from lsr.core.headers import FORMATS, RejectedError, check_work, coded_space, opened, signature

Pixels = NDArray[np.uint8]

MAX_PIXELS = 120_000_000
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image of each EXIF orientation upright."""
GREY_STEPS = {"L;2": 85, "L;4": 17}
"""8-bit levels between two of 2 and 4 bits."""


class UnreadableImageError(InputError):
    """Bytes that are no image by the rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is accepted and how it is flattened. max_pixels, min_side: limits on the size in the header. alpha: colour
    under transparent pixels, or reject. animated: take the first frame, or reject."""

    max_pixels: int = MAX_PIXELS
    min_side: int = 1
    alpha: Literal["white", "black", "reject"] = "white"
    animated: Literal["first", "reject"] = "first"


@dataclass(frozen=True, slots=True)
class Decoded:
    """image: in mode L or RGB, as the module says. format: Pillow's name. changes: what was converted, in words; empty
    where the file's own bytes show the same pixels to any reader."""

    image: Image.Image
    format: str
    changes: tuple[str, ...]

    @property
    def rgb(self) -> Pixels:
        """uint8 [H, W, 3]."""
        return np.asarray(self.image if self.image.mode == "RGB" else self.image.convert("RGB"))


def decode(data: bytes, rules: Rules | None = None, where: str = "It", *, side: int | None = None) -> Decoded:
    """An image file by the rules. where: the subject of the error's sentence.

    side: a JPEG is reduced to fit a square of so many pixels, other formats come whole. Limits are held against the
    header before anything is decoded. Hostile bytes raise UnreadableImageError, with the same words on every run.
    """
    try:
        if not data:
            raise RejectedError("is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, rules or Rules(), side)
    except RejectedError as fault:
        raise UnreadableImageError(f"{where} {fault}.") from None
    except UnidentifiedImageError:
        raise UnreadableImageError(f"{where} {_unknown(data)}.") from None
    except Image.DecompressionBombError:
        limit = (rules or Rules()).max_pixels
        raise UnreadableImageError(f"{where} has more than max_pixels = {limit} pixels by its header.") from None
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever the hostile bytes lead them to; addresses would make reasons differ.
        text = re.sub(r"<[^>]*>|0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")
        raise UnreadableImageError(f"{where} does not decode: {' '.join(text.split())}.") from error


def _unknown(data: bytes) -> str:
    if name := signature(data):
        return f"begins like a file of format {name}, and its header is damaged or of a kind that is not read"
    return f"is not an image of a known format ({', '.join(sorted(set(FORMATS.values())))})"


def _decode(data: bytes, rules: Rules, side: int | None) -> Decoded:
    with opened(data, rules.max_pixels) as image:
        found = image.format or ""
        _check_header(image, data, rules)
        changes = _frames(image, rules)
        source = Source(image.info.get("icc_profile"), coded_space(image, data))
        # Asked before decoding, because Pillow turns TIFFs while it decodes them; only then it reads PNGs' tags.
        turn = _orientation(image) if found != "PNG" else 1
        if side is not None and found in ("JPEG", "MPO"):
            # Asks the decoder for a reduced image, and then resizes that to the size which the whole one would get.
            image.thumbnail((side, side))
        reduced, changed = _eight_bits(image, data, source)
        changes += changed
        turn = _orientation(image) if found == "PNG" else turn
        if reduced.colour is not image:
            # Frees its pixels.
            image.close()
        flat, changed = _flattened(reduced, source, rules)
        changes += changed
        if turn in TURNS:
            flat = flat if found == "TIFF" else flat.transpose(TURNS[turn])
            changes.append("orientation")
        return Decoded(flat, found, tuple(changes))


def _eight_bits(image: ImageFile.ImageFile, data: bytes, source: Source) -> tuple[Reduced, list[str]]:
    """The file, opened and not decoded yet, as colours of 8 bits and alpha, and what had to change."""
    if is_deep(image):
        return read_deep(image, data, source), ["8 bit"]
    raw = raw_mode(image)
    image.load()
    reduced = Reduced(_base(image), _alpha(image, raw), converted=False)
    return reduced, [f"mode {image.mode}"] if reduced.colour.mode != image.mode else []


def _check_header(image: ImageFile.ImageFile, data: bytes, rules: Rules) -> None:
    width, height = image.size
    if width * height > rules.max_pixels:
        raise RejectedError(f"has {width} x {height} pixels by its header, more than max_pixels = {rules.max_pixels}")
    if min(image.size) < rules.min_side:
        raise RejectedError(f"has a shorter side of {min(image.size)} pixels, below min_side = {rules.min_side}")
    check_work(image, data)


def _frames(image: ImageFile.ImageFile, rules: Rules) -> list[str]:
    # A phone's MPO is a still JPEG with a second view behind it.
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return []
    if rules.animated == "reject":
        raise RejectedError("has several frames, and `animated` is 'reject'")
    return ["first frame"]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        # Damaged metadata round good pixels: the image stands as it is stored.
        return 1


def _base(image: Image.Image) -> Image.Image:
    """The colours alone, in L, RGB or CMYK."""
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("LA").convert("L") if image.mode == "La" else image.convert("L")
    return image.convert("RGBA").convert("RGB") if image.mode in ("RGBa", "P", "PA") else image.convert("RGB")


def _alpha(image: ImageFile.ImageFile, raw: str) -> Image.Image | None:
    """The alpha channel, None where the file has none. raw: the raw mode that the file was decoded by."""
    if not image.has_transparency_data:
        return None
    if image.mode in ("LA", "RGBA"):
        return image.getchannel("A")
    if raw in GREY_STEPS and isinstance(image.info.get("transparency"), int):
        # Pillow spreads these levels over 8 bits and leaves the transparent one as it is stored.
        image.info["transparency"] *= GREY_STEPS[raw]
    return image.convert("RGBA").getchannel("A")


def _flattened(reduced: Reduced, source: Source, rules: Rules) -> tuple[Image.Image, list[str]]:
    """The image in sRGB and L or RGB, and what had to change."""
    alpha = None if reduced.alpha is None or reduced.alpha.getextrema()[0] == 255 else reduced.alpha
    if alpha is not None and rules.alpha == "reject":
        raise RejectedError("has transparent pixels, and `alpha` is 'reject'")
    image, changes = reduced.colour, []
    converted = image if reduced.converted else to_srgb(image, source)
    if converted is not None:
        image, changes = converted, ["sRGB"]
    elif image.mode == "CMYK":
        image, changes = image.convert("RGB"), ["mode CMYK"]
    if alpha is not None:
        image = image.convert("RGB")
        image.paste(rules.alpha, mask=ImageChops.invert(alpha))
        changes.append(f"alpha on {rules.alpha}")
    return image, changes


def decode_rgb(data: bytes, where: str) -> Pixels:
    """uint8 [H, W, 3] of an image that is in a shard, or that this project wrote: plain sRGB, taken as it is.

    Raises IntegrityError naming `where` when it does not decode.
    """
    try:
        with opened(data) as image:
            # convert copies the pixels even where there is nothing to convert.
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception as error:
        raise IntegrityError(f"{where} does not decode as an image: {error}; run `lsr data verify`.") from error


def decode_reduced(data: bytes, where: str, side: int) -> Pixels:
    """uint8 [h, w, 3] of an image file, reduced to fit a square of `side` pixels, never enlarged.

    For viewing, not for measuring: a JPEG is decoded at a part of its size, the smallest that still leaves twice the
    pixels per side that are wanted, and differs from the whole one reduced (docs/data.md has by how much). Raises
    IntegrityError naming `where` when it does not decode.
    """
    try:
        image = decode(data, Rules(max_pixels=sys.maxsize), where, side=side).image.convert("RGB")
    except UnreadableImageError as error:
        raise IntegrityError(f"{error} Replace the file.") from error
    image.thumbnail((side, side))
    return np.asarray(image)
