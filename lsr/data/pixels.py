"""Which member of a sample is its image."""

from __future__ import annotations

from collections.abc import Mapping

from lsr.core.errors import IntegrityError

# Suffixes that are clearly images, in the order in which a sample with several of them is searched.
IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "jpe", "jfif", "webp", "tif", "tiff", "bmp", "gif", "ppm", "pgm", "pbm", "avif")


def image_of(members: Mapping[str, bytes], where: str) -> bytes:
    """The encoded image among a sample's members. Raises IntegrityError naming `where` when there is none."""
    for suffix in IMAGE_SUFFIXES:
        if suffix in members:
            return members[suffix]
    raise IntegrityError(f"{where} holds no image; its members are {', '.join(sorted(members)) or 'none'}.")
