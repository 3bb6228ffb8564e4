"""Every file is either sound, with the right sRGB pixels, or rejected with a reason."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from data_prep.config import ShardConfig
from data_prep.soundness import Rejected, Sound, content_hash, inspect

from .conftest import WIDE, deep_png, encode, hostile, icc_profile, make_image, raw_png

CONFIG = ShardConfig()
FILES = hostile()
KEPT = {"plain.png", "plain.jpg", "grey.png", "lossy.webp", "flat.bmp", "flat.ppm", "strip.tif", "damaged-profile.png"}
REJECTED = {
    "truncated.jpg": "does not decode: OSError: image file is truncated",
    "truncated.png": "does not decode",
    "zero.jpg": "empty",
    "text.jpg": "not an image of a known format",
    "bomb.png": "more than max_pixels = 120000000",
    "float.tif": "floating-point",
    "small.png": "shorter side of 8 pixels, below min_side = 32",
}
CHANGED = {
    "cmyk.jpg": "mode CMYK",
    "deep-grey.png": "8 bit",
    "deep-colour.png": "8 bit",
    "deep.tif": "8 bit",
    "palette.png": "mode P",
    "bilevel.png": "mode 1",
    "alpha.png": "alpha on white",
    "opaque.png": "mode RGBA",
    "palette-alpha.png": "alpha on white",
    "animated.gif": "first frame",
    "animated.webp": "first frame",
    "turned.jpg": "orientation",
    "wide.png": "sRGB",
}


def sound(data: bytes, config: ShardConfig = CONFIG) -> Sound:
    found = inspect(data, config)
    assert isinstance(found, Sound), found
    return found


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_every_hostile_file_is_accounted_for() -> None:
    assert {*KEPT, *REJECTED, *CHANGED} == set(FILES)


@pytest.mark.parametrize("name", sorted(KEPT))
def test_sound_originals_are_kept_to_the_byte(name: str) -> None:
    found = sound(FILES[name])
    assert found.changes == ()
    assert found.data == FILES[name]
    assert (found.height, found.width) == pixels(found.data).shape[:2]


@pytest.mark.parametrize("name", sorted(REJECTED))
def test_unsound_files_are_rejected_with_a_reason(name: str) -> None:
    found = inspect(FILES[name], CONFIG)
    assert isinstance(found, Rejected)
    assert REJECTED[name] in found.reason


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_everything_else_becomes_a_plain_8_bit_png(name: str) -> None:
    found = sound(FILES[name])
    assert CHANGED[name] in found.changes
    assert found.ext == "png"
    with Image.open(io.BytesIO(found.data)) as image:
        assert (image.format, image.size) == ("PNG", (found.width, found.height))
        assert image.mode in ("L", "RGB")
        assert not {"icc_profile", "transparency", "exif"} & set(image.info)
    again = sound(found.data)
    assert (again.changes, again.content) == ((), found.content)


def test_orientation_turns_the_image_upright() -> None:
    upright = make_image(1)
    for orientation, stored in ((3, upright[::-1, ::-1]), (6, np.rot90(upright)), (2, upright[:, ::-1])):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for format in ("PNG", "TIFF"):
            found = sound(encode(np.ascontiguousarray(stored), format, exif=exif))
            assert "orientation" in found.changes
            assert np.array_equal(pixels(found.data), upright)


def test_16_bit_grey_is_rounded_to_8() -> None:
    deep = np.arange(0, 65536, 41, dtype=np.uint16)[: 39 * 40].reshape(39, 40)
    expected = np.round(deep / 257).astype(np.uint8)
    for data in (deep_png(deep), encode(Image.fromarray(deep), "TIFF")):
        assert np.array_equal(pixels(sound(data).data)[..., 0], expected)


@pytest.mark.parametrize(("rule", "level"), [("white", 255), ("black", 0)])
def test_transparency_is_replaced_by_the_named_colour(rule: str, level: int) -> None:
    rgb = make_image(1)
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    alpha[:, 32:], alpha[:, :16] = 255, 128
    found = pixels(sound(encode(np.dstack([rgb, alpha])), ShardConfig(alpha=rule)).data)
    weight = alpha[..., None] / 255
    assert np.abs(found - (rgb * weight + level * (1 - weight))).max() <= 1
    assert np.array_equal(found[:, 32:], rgb[:, 32:])


def test_rules_can_reject_transparency_and_frames() -> None:
    config = ShardConfig(alpha="reject", animated="reject")
    for name, says in (("alpha.png", "transparent"), ("animated.gif", "several frames"), ("animated.webp", "frames")):
        found = inspect(FILES[name], config)
        assert isinstance(found, Rejected)
        assert says in found.reason
    assert sound(FILES["opaque.png"], config).changes == ("mode RGBA",)


def test_the_first_frame_is_taken() -> None:
    assert np.array_equal(pixels(sound(FILES["animated.webp"]).data), make_image(12))


def test_a_phone_image_with_a_second_view_is_one_sound_image() -> None:
    views = [Image.fromarray(make_image(s)) for s in (1, 2)]
    data = encode(views[0], "MPO", save_all=True, append_images=views[1:])
    found = sound(data, ShardConfig(animated="reject"))
    assert (found.data, found.ext, found.changes) == (data, "jpg", ())


def test_a_wide_gamut_profile_is_converted_as_its_primaries_say() -> None:
    """Against the colorimetric formula in float64: linear light by gamma, matrices, the sRGB curve."""
    rgb = make_image(14) // 2 + 60
    found = pixels(sound(encode(rgb, icc_profile=icc_profile(WIDE, 2.2))).data)
    srgb = np.array([[0.4360, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7139]])
    linear = (rgb / 255) ** 2.2 @ np.array(WIDE) @ np.linalg.inv(srgb)
    linear = linear.clip(0, 1)
    wanted = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(found - wanted).max() < 2.5
    assert np.abs(found.astype(int) - rgb).max() > 10


def test_a_profile_that_is_srgb_by_any_name_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(make_image(1), "JPEG", icc_profile=profile)
    assert sound(data).data == data


def test_a_profile_of_another_colour_space_counts_as_none() -> None:
    data = encode(make_image(1)[..., 0], icc_profile=icc_profile(WIDE, 2.2))
    assert sound(data).data == data


def test_a_grey_profile_is_converted_and_stays_grey() -> None:
    found = sound(encode(make_image(1)[..., 0], icc_profile=icc_profile((), 1.0, b"GRAY")))
    assert found.changes == ("sRGB",)
    assert Image.open(io.BytesIO(found.data)).mode == "L"
    assert pixels(found.data).mean() > make_image(1)[..., 0].mean()


def test_equal_images_have_equal_content_in_any_file() -> None:
    rgb = make_image(1)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    same = [encode(rgb), encode(rgb, "BMP"), encode(rgb, "WEBP", lossless=True), encode(rgb, compress_level=1)]
    assert len({sound(data).content for data in same}) == 1
    assert sound(encode(grey)).content == sound(encode(grey[..., 0])).content
    assert sound(encode(rgb)).content != sound(encode(rgb.reshape(64, 48, 3))).content


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300_000), (300_000, 2), (300, 219), (512, 512), (512, 513)])
def test_content_is_the_digest_of_size_and_pixels(size: tuple[int, int], mode: str) -> None:
    width, height = size
    levels = np.random.default_rng(1).integers(0, 256, (height, width, 3 if mode == "RGB" else 1), dtype=np.uint8)
    image = Image.fromarray(levels if mode == "RGB" else levels[..., 0])
    rgb = np.broadcast_to(levels, (height, width, 3))
    assert content_hash(image) == hashlib.sha256(f"{width}x{height}:".encode() + rgb.tobytes()).hexdigest()


def test_the_limit_is_exact_and_holds_before_decoding() -> None:
    config = ShardConfig(max_pixels=48 * 64)
    assert isinstance(inspect(encode(make_image(1)), config), Sound)
    assert isinstance(inspect(encode(make_image(1, 48, 65)), config), Rejected)
    assert isinstance(inspect(raw_png(4000, 4000, 8, 2, b""), config), Rejected)
    assert Image.MAX_IMAGE_PIXELS == 89478485


@settings(max_examples=150)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 10**6), st.integers(1, 255), st.floats(0, 1))
def test_damaged_bytes_never_raise_and_always_get_the_same_answer(name, where, flip, cut) -> None:
    data = bytearray(FILES[name][: max(1, int(len(FILES[name]) * (1 - cut * cut)))] or b"x")
    data[where % len(data)] ^= flip
    first = inspect(bytes(data), CONFIG)
    assert inspect(bytes(data), CONFIG) == first
    if isinstance(first, Rejected):
        assert not re.search("0x[0-9a-f]+|<_io", first.reason)


@pytest.mark.parametrize("name", ["turned.jpg", "wide.png", "truncated.jpg"])
def test_another_process_comes_to_the_same_answer(name: str) -> None:
    code = (
        "import sys; from data_prep.soundness import inspect; from data_prep.config import ShardConfig;"
        "sys.stdout.write(repr(inspect(sys.stdin.buffer.read(), ShardConfig())))"
    )
    ran = subprocess.run([sys.executable, "-c", code], input=FILES[name], capture_output=True, check=True)
    assert ran.stdout.decode() == repr(inspect(FILES[name], CONFIG))
