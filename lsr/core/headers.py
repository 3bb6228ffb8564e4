"""What the bytes of an image file say before Pillow decodes them: the work that decoding costs, and the colour space
that Pillow passes over.
"""

from __future__ import annotations

import io
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile

FORMATS = {
    "PNG": "png",
    "JPEG": "jpg",
    "MPO": "jpg",
    "WEBP": "webp",
    "TIFF": "tif",
    "BMP": "bmp",
    "GIF": "gif",
    "PPM": "ppm",
    "AVIF": "avif",
}
"""Pillow's names of the formats that are read, tiles' own first (they are tried in turn), and their suffixes."""

MOST_SCANS, MOST_SEGMENTS = 50, 1 << 16
PIXELS_PER_RLE_BYTE = 128
SLOW_CODECS = {"bmp_rle": 20_000_000, "ppm_plain": 4_000_000}
"""Codecs that Pillow has in Python, and how many pixels they decode in about ten seconds."""

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}

_OPENING = threading.Lock()
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
# In the coded data of a scan, FF is followed by 00 or by a restart marker D0 to D7.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


class RejectedError(Exception):
    """Why an image cannot be used: the rest of a sentence whose subject is the image."""


@contextmanager
def opened(data: bytes, most: int | None = None) -> Iterator[ImageFile.ImageFile]:
    """The file with its header read and no pixel decoded. Raises what Pillow does.

    most: Pillow warns of more pixels than this and raises DecompressionBombError for more than twice as many, before it
    makes a WebP's canvas, which is part of its opening; None for files of our own.
    """
    # Pillow's limit of pixels is a variable of its module. MPO is what its JPEG reader calls some of its files.
    with _OPENING:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = most
        try:
            image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name != "MPO"])
        finally:
            Image.MAX_IMAGE_PIXELS = before
    with image:
        yield image


def check_work(image: ImageFile.ImageFile, data: bytes) -> None:
    """Raises RejectedError for a file whose decoding costs far more than its size: a bomb of work."""
    codec = image.tile[0].codec_name if image.tile else ""
    pixels = image.width * image.height
    if image.format in ("JPEG", "MPO") and (scans := jpeg_scans(data)) > MOST_SCANS:
        raise RejectedError(f"is decoded in more than {MOST_SCANS} passes over its pixels (found {scans} JPEG scans)")
    if codec == "bmp_rle" and pixels > PIXELS_PER_RLE_BYTE * len(data):
        raise RejectedError(
            f"has {len(data)} bytes of run-length code, too few for {image.width} x {image.height} pixels"
        )
    if pixels > SLOW_CODECS.get(codec, pixels):
        raise RejectedError(
            f"has {image.width} x {image.height} pixels in a code that is slow to read ({codec}), above the "
            f"{SLOW_CODECS[codec]} that are read so"
        )


def jpeg_scans(data: bytes) -> int:
    """How many scans a JPEG has; at least MOST_SCANS + 1 where there are more, or more than MOST_SEGMENTS segments."""
    place, scans = 0, 0
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None or found[1][0] == _END or scans > MOST_SCANS:
            return scans
        place = found.end()
        scans += found[1][0] == _SCAN
        if found[1][0] not in (_START, 1):
            place += int.from_bytes(data[place : place + 2], "big")
    return MOST_SCANS + 1


def coded_space(image: ImageFile.ImageFile, data: bytes) -> tuple[int, int] | None:
    """(primaries, transfer) as ITU-T H.273 numbers them, of a PNG's cICP chunk or an AVIF without an ICC profile.

    Raises RejectedError for a PNG in video range or another matrix than RGB, which is no valid one.
    """
    if image.format == "AVIF" and not image.info.get("icc_profile"):
        at = data.find(b"colrnclx", 0, 1 << 16)
        return struct.unpack_from(">HH", data, at + 8) if 0 <= at < len(data) - 12 else None
    if image.format != "PNG" or (coded := _png_chunk(data, b"cICP")) is None:
        return None
    if len(coded) != 4 or coded[2:] != b"\0\x01":
        raise RejectedError(f"has a cICP chunk {coded[:8].hex(' ')}, which does not stand for RGB in full range")
    return coded[0], coded[1]


def _png_chunk(data: bytes, wanted: bytes) -> bytes | None:
    """The first such chunk before the pixels."""
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == wanted:
            return data[place + 8 : place + 8 + length]
        if kind == b"IDAT":
            return None
        place += 12 + length
    return None


def signature(data: bytes) -> str:
    """The format that the first bytes announce; empty for none that is known."""
    known = (name for start, name in SIGNATURES.items() if data.startswith(start))
    return next(known, {b"WEBP": "WEBP", b"avif": "AVIF"}.get(data[8:12], ""))
