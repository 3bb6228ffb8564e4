"""Files appear whole or not at all, and containers hold every pixel."""

from __future__ import annotations

import hashlib
import io
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lsr.core.encoding import CONTAINERS, container_of, encode, png
from lsr.core.errors import InputError
from lsr.core.files import file_sha256, write_whole

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def read(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"one")
    write_whole(path, "zwei ü")
    assert path.read_text(encoding="utf-8") == "zwei ü"
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]
    assert file_sha256(path) == hashlib.sha256("zwei ü".encode()).hexdigest()


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    write_whole(tmp_path / "key", "x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("suffix", sorted(CONTAINERS))
def test_a_container_gives_back_its_pixels(suffix: str) -> None:
    found = read(encode(PIXELS, Path(f"a{suffix.upper()}")))
    lossless = CONTAINERS[suffix].lossless is not None
    assert found.shape == PIXELS.shape
    assert np.abs(found.astype(int) - PIXELS).max() <= (0 if lossless else 32)


def test_a_jpeg_keeps_colour_edges_and_takes_a_quality() -> None:
    columns = np.zeros((16, 16, 3), np.uint8)
    columns[:, ::2] = (255, 0, 0)
    assert np.abs(read(encode(columns, Path("a.jpg"))).astype(int) - columns).max() < 40
    assert len(encode(PIXELS, Path("a.jpg"), 30)) < len(encode(PIXELS, Path("a.jpg"))) / 2
    assert len(encode(PIXELS, Path("a.webp"), 30)) < len(encode(PIXELS, Path("a.webp"))) / 2


def test_what_no_container_holds_is_rejected_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"b\.webp: WEBP holds at most 16383 pixels per side, found 1 x 16384"):
        container_of(Path("b.webp"), (16384, 1))
    with pytest.raises(InputError, match=r"a\.gif must end in \.png, \.jpg.*found '\.gif'"):
        container_of(Path("a.gif"))
    with pytest.raises(InputError, match=r"a\.png: PNG is lossless and takes no quality, found 90"):
        encode(PIXELS, Path("a.png"), 90)


def test_a_png_is_a_function_of_the_pixels_alone() -> None:
    assert png(PIXELS) == png(np.asfortranarray(PIXELS))
    assert np.array_equal(read(png(PIXELS[..., 0]))[..., 1], PIXELS[..., 0])
