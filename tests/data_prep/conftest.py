"""Images and hostile files made in memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from data_prep.items import Item

Pixels = NDArray[np.uint8]


def make_image(seed: int = 0, height: int = 48, width: int = 64) -> Pixels:
    """A smooth gradient with noise, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, height)[:, None, None] * np.ones((1, width, 3)) * rng.random(3)
    return (ramp + rng.integers(0, 55, (height, width, 3))).astype(np.uint8)


def encode(pixels: Any, format: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG of any header, whether or not its data fits."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def deep_png(pixels: NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG of [H, W] grey or [H, W, 3] colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return raw_png(pixels.shape[1], pixels.shape[0], 16, 2 if pixels.ndim == 3 else 0, rows)


def icc_profile(
    primaries: tuple[tuple[float, float, float], ...], gamma: float, space: bytes = b"RGB ", curve: bytes = b""
) -> bytes:
    """A minimal ICC 2 display profile: XYZ (D50) of the red, green and blue primaries and one gamma, or a curve tag."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = curve or b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(8 + 3 + 67)
    tags: dict[bytes, bytes] = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for name, primary in zip(b"rgb", primaries):
            tags[bytes([name]) + b"XYZ"] = xyz(primary)
            tags[bytes([name]) + b"TRC"] = curve
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    dates = struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    head = struct.pack(">I", size) + bytes(4) + b"\x02\x40\0\0" + b"mntr" + space + b"XYZ " + dates + b"acsp"
    head += bytes(4 * 7) + b"".join(map(number, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


WIDE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
"""Adobe RGB (1998) primaries, adapted to D50."""


def hostile() -> dict[str, bytes]:
    """Files that a folder of images may hold, by name."""
    rgb = make_image(1)
    image = Image.fromarray(rgb)
    grey = image.convert("L")
    clear = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    clear[:8, :8, 3] = 0
    opaque = np.dstack([make_image(7), np.full(rgb.shape[:2], 255, np.uint8)])
    frames = [Image.fromarray(make_image(s)) for s in (11, 12)]
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = np.random.default_rng(5).integers(0, 65536, (40, 40), dtype=np.uint16)
    jpeg = encode(make_image(2, 200, 200), "JPEG", quality=95)
    return {
        "plain.png": encode(rgb),
        "plain.jpg": encode(make_image(3), "JPEG"),
        "grey.png": encode(grey),
        "lossy.webp": encode(make_image(4), "WEBP"),
        "flat.bmp": encode(make_image(5), "BMP"),
        "flat.ppm": encode(make_image(6), "PPM"),
        "strip.tif": encode(make_image(8), "TIFF"),
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": encode(make_image(9))[:900],
        "zero.jpg": b"",
        "text.jpg": b"This is not an image at all, but it says so.\n",
        "bomb.png": raw_png(60000, 60000, 8, 2, b"\0" * 100),
        "cmyk.jpg": encode(Image.fromarray(make_image(10)).convert("CMYK"), "JPEG"),
        "deep-grey.png": deep_png(deep),
        "deep-colour.png": deep_png(np.dstack([deep, deep[::-1], deep.T])),
        "deep.tif": encode(Image.fromarray(deep[:, ::-1].copy()), "TIFF"),
        "palette.png": encode(image.quantize(16)),
        "bilevel.png": encode(grey.convert("1")),
        "alpha.png": encode(clear),
        "opaque.png": encode(opaque),
        "palette-alpha.png": encode(image.quantize(8), transparency=0),
        "animated.gif": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.webp": encode(frames[1], "WEBP", save_all=True, append_images=frames[:1], lossless=True),
        "turned.jpg": encode(make_image(13), "JPEG", exif=turned),
        "wide.png": encode(make_image(14), icc_profile=icc_profile(WIDE, 2.2)),
        "float.tif": encode(Image.fromarray(make_image(15)[..., 0].astype(np.float32)), "TIFF"),
        "small.png": encode(make_image(16, 8, 100)),
        "damaged-profile.png": encode(make_image(17), icc_profile=b"nonsense"),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Write files below a fresh folder."""

    def write(files: dict[str, bytes]) -> Path:
        for name, data in files.items():
            path = tmp_path / "raw" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "raw"

    return write


def items_with(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Item]:
    """Any items, with names and captions of `texts`."""
    return st.builds(
        Item,
        key=texts,
        size=st.integers(0, 2**40),
        pin=texts,
        path=texts,
        offset=st.none() | st.integers(0, 2**40),
        caption=st.none() | texts,
        label=st.none() | texts,
    )
