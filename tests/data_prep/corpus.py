"""A corpus of broken and odd image files: mutations of photos in every format that Pillow writes.

Every file is a function of the seed and its number, so that one that breaks something can be made again.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lsr.assets import resolve

SIDES = (40, 96)
SUFFIXES = ("png", "jpg", "webp", "tif", "bmp", "gif", "ppm", "avif")
OPTIONS: dict[str, list[dict[str, object]]] = {
    "JPEG": [{"quality": 80}, {"quality": 30, "progressive": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01junk"}],
    "PNG": [{}, {"icc_profile": b"no profile"}, {"save_all": True}],
    "TIFF": [{"compression": name} for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")],
    "WEBP": [{"quality": 70}, {"lossless": True}, {"save_all": True}],
    "GIF": [{}, {"save_all": True}],
    "AVIF": [{"quality": 50, "speed": 10}, {"save_all": True}],
    "MPO": [{"save_all": True}],
}
MODES = ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16", "I", "F", "YCbCr")

Mutation = Callable[[bytes, np.random.Generator], bytes]


def originals() -> list[tuple[str, bytes]]:
    """(format, file) of small photos in every format, option and mode that Pillow can write them in."""
    Image.init()
    root = resolve("photos", Path("/nonexistent"))
    paths = sorted(path for path in root.rglob("*") if path.suffix in (".jpg", ".png", ".webp"))[:6]
    found = []
    for number, format in enumerate(sorted(Image.SAVE)):
        photo = Image.open(paths[number % len(paths)]).convert("RGB").resize((SIDES[1], SIDES[number % 2]))
        for mode in MODES:
            for options in OPTIONS.get(format, [{}]):
                if data := _saved(photo, mode, format, options):
                    found.append((format, data))
    return found


def _saved(photo: Image.Image, mode: str, format: str, options: dict[str, object]) -> bytes | None:
    out = io.BytesIO()
    try:
        image = photo.convert("I").convert("I;16") if mode == "I;16" else photo.convert(mode)
        more = {"append_images": [image.rotate(90)]} if options.get("save_all") else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.save(out, format, **{**options, **more})
    except Exception:
        return None
    return out.getvalue()


def _place(data: bytes, rng: np.random.Generator) -> int:
    # Headers are where the interesting bytes are.
    return int(rng.integers(0, max(1, min(len(data), 128 if rng.random() < 0.5 else len(data)))))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 20))):
        out[_place(data, rng)] ^= 1 << int(rng.integers(0, 8))
    return bytes(out)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _hole(data: bytes, rng: np.random.Generator) -> bytes:
    at, size = _place(data, rng), int(rng.integers(1, 400))
    return data[:at] + data[at + size :]


def _stuff(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 400))) + data[at:]


def _blank(data: bytes, rng: np.random.Generator) -> bytes:
    at, size = _place(data, rng), int(rng.integers(1, 200))
    return data[:at] + bytes([int(rng.choice([0, 255]))]) * size + data[at + size :]


def _number(data: bytes, rng: np.random.Generator) -> bytes:
    """A length, count or side becomes an extreme one, in either byte order."""
    at = _place(data, rng)
    value = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 60_000]))
    kinds = [">I", "<I"] if value > 0xFFFF else [">H", "<H", ">I", "<I"]
    return data[:at] + struct.pack(str(rng.choice(kinds)), value) + data[at + 4 :]


def _again(data: bytes, rng: np.random.Generator) -> bytes:
    at, size = _place(data, rng), int(rng.integers(1, 600))
    return data[:at] + data[at : at + size] * int(rng.integers(2, 40)) + data[at + size :]


def _twice(data: bytes, rng: np.random.Generator) -> bytes:
    return data + data


def _noise(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, 64))] + rng.bytes(len(data))


def _same(data: bytes, rng: np.random.Generator) -> bytes:
    return data


COMMON = (_flip, _number)
MUTATIONS: tuple[Mutation, ...] = (*COMMON, *COMMON, _cut, _hole, _stuff, _blank, _again, _twice, _noise, _same)


def corpus(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` files by name; the suffix is that of some format, not always the file's own."""
    files = originals()
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        format, data = files[number % len(files)]
        other = files[int(rng.integers(0, len(files)))][1]
        mutation = MUTATIONS[int(rng.integers(0, len(MUTATIONS)))]
        data = mutation(data, rng)
        if rng.random() < 0.05:
            at = int(rng.integers(1, 200))
            data = data[:at] + other[at:]
        suffix = SUFFIXES[int(rng.integers(0, len(SUFFIXES)))] if rng.random() < 0.3 else "png"
        yield f"{number % 7}/{format} ü {number:05}.{suffix}", data
