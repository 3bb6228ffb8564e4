"""Image files of a user: every mode becomes upright uint8 RGB, what is no image is a sentence, files appear whole."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lsr.core.errors import InputError, NotFoundError
from lsr.inference.images import load_image, save_image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, format=kind, **options)
    return data.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    out = load_image(encoded(Image.new(mode, (5, 3))))
    assert out.shape == (3, 5, 3)
    assert out.dtype == np.uint8


def test_cmyk_becomes_rgb() -> None:
    out = load_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(out.astype(int) - [255, 0, 0]).max() < 10


def test_sixteen_bits_are_rounded_to_eight() -> None:
    grey = Image.fromarray(np.array([[0, 128, 129, 256, 65406, 65407, 65535]], dtype=np.uint16))
    assert load_image(encoded(grey))[0, :, 0].tolist() == [0, 0, 1, 1, 254, 255, 255]


def test_transparency_lies_over_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    assert load_image(encoded(image)).tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_a_turned_photo_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = load_image(encoded(Image.new("RGB", (20, 10)), "JPEG", exif=exif))
    assert out.shape == (20, 10, 3)


def test_a_bomb_is_rejected_by_its_header() -> None:
    with pytest.raises(InputError, match="The image has 30 x 40 pixels by its header, more than max_pixels = 1000"):
        load_image(encoded(Image.new("1", (30, 40))), max_pixels=1000)


@pytest.mark.parametrize("data", [b"", b"not an image", encoded(Image.new("RGB", (64, 64), "red"))[:60]])
def test_what_is_no_whole_image_is_rejected(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The image (is empty|is not an image|does not decode)"):
        load_image(data)
    (tmp_path / "broken.png").write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.png (is empty|is not an image|does not decode)"):
        load_image(tmp_path / "broken.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no image .*absent\.png"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match="cannot be read"):
        load_image(tmp_path)


def test_what_has_no_end_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="must be a regular file"):
            load_image(path)


def test_a_file_is_measured_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsr.inference.images.MAX_INPUT_BYTES", 99)
    (tmp_path / "a.png").write_bytes(bytes(100))
    with pytest.raises(InputError, match="has 100 bytes, at most 99 are read"):
        load_image(tmp_path / "a.png")


def test_saved_pixels_come_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    save_image(pixels, tmp_path / "new folder" / "a.PNG")
    assert np.array_equal(load_image(tmp_path / "new folder" / "a.PNG"), pixels)
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["a.PNG"]


def test_an_output_that_cannot_be_written_is_rejected(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(InputError, match=r"must end in \.png"):
        save_image(pixels, tmp_path / "a.txt")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        save_image(pixels, tmp_path / "file" / "a.png")
