"""Colours of image files to sRGB: ICC profiles and coded spaces, of 8 and of 16 bits per channel."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from lsr.core.curves import PRIMARIES, TRANSFERS, Levels8, Levels16, Shaper, coded_shaper, profiled_shaper
from lsr.core.headers import RejectedError

# Largest difference, in 8-bit levels, of a profile that is sRGB by another name or rounding.
SAME_AS_SRGB = 2
# Largest step, in 8-bit levels, that a table profile may make of one 8-bit level; a steeper one needs all 16 bits.
STEEPEST = 2
ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says of its colours. profile: its ICC profile. coded: H.273 primaries and transfer, which come before
    a profile."""

    profile: bytes | None = None
    coded: tuple[int, int] | None = None

    def shaper(self) -> Shaper | None:
        """The coded space, None where it is sRGB or there is none. Raises RejectedError for one not supported."""
        if self.coded is None:
            return None
        primaries, transfer = self.coded
        if primaries not in PRIMARIES or transfer not in TRANSFERS:
            raise RejectedError(
                f"has colours in a space that is not converted (primaries {primaries}, transfer {transfer} of H.273)"
            )
        return coded_shaper(primaries, transfer)


def by_rows(array: NDArray[np.generic], convert: Callable[[NDArray[np.generic]], Levels8]) -> Levels8:
    """`convert` of [H, W, ...], ROWS_AT_ONCE rows at a time, so that its intermediate arrays stay small."""
    return np.concatenate([convert(array[row : row + ROWS_AT_ONCE]) for row in range(0, len(array), ROWS_AT_ONCE)])


def to_srgb(image: Image.Image, source: Source) -> Image.Image | None:
    """`image` (mode L, RGB or CMYK) in sRGB and mode L or RGB; None when nothing must change.

    Relative colorimetric with black-point compensation. Whether a profile differs from sRGB is measured on a grid of
    colours, because its name says little. A damaged profile, or one of another colour space, counts as none. Raises
    RejectedError for a coded space that is not supported.
    """
    if source.coded is not None and image.mode != "CMYK":
        shaper = source.shaper()
        return None if shaper is None else _shaped(image, shaper)
    transform = _transform(source.profile, image.mode) if source.profile else None
    if transform is None:
        return None
    converted = ImageCms.applyTransform(image, transform)
    return converted.convert("L") if image.mode == "L" and converted is not None else converted


def _shaped(image: Image.Image, shaper: Shaper) -> Image.Image:
    def convert(rows: NDArray[np.generic]) -> Levels8:
        colours = rows if rows.ndim == 3 else np.repeat(rows[..., None], 3, axis=2)
        return shaper.to_srgb(colours.astype(np.uint16) * 257)

    return Image.fromarray(by_rows(np.asarray(image), convert)).convert(image.mode)


def converter16(source: Source, channels: int) -> Callable[[Levels16], Levels8] | None:
    """The function from uint16 [h, w, channels] (1 or 3) to uint8 sRGB of the same shape; None where rounding to 8 bits
    comes first: colours that are sRGB already, and profiles of tables, which are smooth.

    Raises RejectedError for a table profile whose curves are too steep for 8 bits.
    """
    if source.coded is not None:
        shaper = source.shaper()
        return None if shaper is None else _of_channels(shaper, channels)
    mode = "L" if channels == 1 else "RGB"
    transform = _transform(source.profile, mode) if source.profile else None
    if transform is None or source.profile is None:
        return None
    shaper = profiled_shaper(source.profile)
    if shaper is None:
        _check_slope(transform, mode)
        return None
    return _of_channels(shaper, channels)


def _of_channels(shaper: Shaper, channels: int) -> Callable[[Levels16], Levels8]:
    if channels == 3:
        return shaper.to_srgb
    return lambda levels: shaper.to_srgb(np.repeat(levels, 3, axis=-1))[..., :1]


def _check_slope(transform: ImageCms.ImageCmsTransform, mode: str) -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert(mode)
    after = np.asarray(ImageCms.applyTransform(ramp, transform), dtype=int)
    steepest = np.abs(np.diff(after, axis=1)).max()
    if steepest > STEEPEST:
        raise RejectedError(
            f"has 16-bit colours in a table profile that makes {steepest} levels of one, which needs more than the 8 "
            "bits that table profiles are read with"
        )


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "CMYK":
            return transform
        probe = _probe(mode)
        after = ImageCms.applyTransform(probe, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    difference = np.abs(np.asarray(after, dtype=int) - np.asarray(probe.convert("RGB"), dtype=int))
    return transform if difference.max() > SAME_AS_SRGB else None


def _probe(mode: str) -> Image.Image:
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    return Image.fromarray(grid.reshape(27, 27, 3))
