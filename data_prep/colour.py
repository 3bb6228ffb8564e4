"""Embedded ICC profiles to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# Largest difference, in 8-bit levels, of a profile that is sRGB by another name or rounding.
SAME_AS_SRGB = 2


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """`image` (mode L, RGB or CMYK) in sRGB and mode L or RGB; None when nothing must change.

    Relative colorimetric with black-point compensation. Whether a profile differs from sRGB is measured on a grid of
    colours, because its name says little. A damaged profile, or one of another colour space, counts as none.
    """
    transform = _transform(profile, image.mode) if profile else None
    if transform is None:
        return None
    converted = ImageCms.applyTransform(image, transform)
    return converted.convert("L") if image.mode == "L" and converted is not None else converted


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
