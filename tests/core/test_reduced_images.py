"""Images decoded at a reduced size: close to the whole one reduced, upright, and never larger than asked."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from lsr.assets import resolve
from lsr.core.errors import IntegrityError
from lsr.core.pixels import decode_reduced, decode_rgb
from lsr.inference.images import load_image

PHOTOS = sorted(resolve("photos", Path()).glob("*.jpg"))
TURNS = range(1, 9)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def reduced(pixels: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return np.asarray(image)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes of what Pillow's decoders gave."""
    sizes, load = [], ImageFile.ImageFile.load

    def seen(self: ImageFile.ImageFile) -> Any:
        result = load(self)
        sizes.append(self.size)
        return result

    monkeypatch.setattr(ImageFile.ImageFile, "load", seen)
    return sizes


@pytest.mark.parametrize("side", [32, 128])
def test_photos_differ_within_the_documented_bound(side: int) -> None:
    assert len(PHOTOS) == 19
    for path in PHOTOS:
        data = path.read_bytes()
        found, whole = decode_reduced(data, path.name, side), reduced(decode_rgb(data, path.name), side)
        assert found.shape == whole.shape
        apart = np.abs(found.astype(int) - whole)
        assert (apart.mean() <= 1, apart.max() <= 12) == (True, True), path


def test_a_jpeg_is_not_decoded_whole(loaded: list[tuple[int, int]]) -> None:
    data = encoded(Image.new("RGB", (2048, 1024), "red"), "JPEG")
    assert decode_reduced(data, "p", 64).shape == (32, 64, 3)
    assert max(loaded) == (256, 128)
    loaded.clear()
    decode_reduced(encoded(Image.new("RGB", (200, 100)), "PNG"), "p", 64)
    assert (200, 100) in loaded


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_image_stands_upright(kind: str, turn: int) -> None:
    """One bright corner tells all eight turns apart together with the shape."""
    image = Image.new("L", (400, 200))
    image.paste(255, (0, 0, 100, 50))
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(image.convert("RGB"), kind, exif=exif)
    expected = reduced(load_image(data), 40)
    found = decode_reduced(data, "p", 40)
    assert found.shape == expected.shape == ((40, 20, 3) if turn > 4 else (20, 40, 3))
    assert np.abs(found.astype(int) - expected).max() <= 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_other_formats_are_decoded_whole(mode: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (90, 120, 4), dtype=np.uint8), "RGBA")
    deep = Image.fromarray(rng.integers(0, 65536, (90, 120), dtype=np.uint16))
    data = encoded(deep if mode == "I;16" else image.convert("RGB" if mode == "P" else "RGBA").convert(mode), "PNG")
    assert np.array_equal(decode_reduced(data, "p", 50), reduced(load_image(data), 50))


def test_a_small_image_stays_as_it_is() -> None:
    data = PHOTOS[0].read_bytes()
    assert np.array_equal(decode_reduced(data, "p", 5000), decode_rgb(data, "p"))


def test_a_cmyk_jpeg_is_reduced_to_rgb() -> None:
    found = decode_reduced(encoded(Image.new("CMYK", (800, 800), (0, 255, 255, 0)), "JPEG"), "p", 50)
    assert found.shape == (50, 50, 3)
    assert np.abs(found.astype(int) - [255, 0, 0]).max() < 10


@pytest.mark.parametrize("data", [b"", b"text", PHOTOS[0].read_bytes()[:5000]])
def test_what_does_not_decode_is_named(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"Sample 7 (is empty|is not an image|does not decode)"):
        decode_reduced(data, "Sample 7", 64)
