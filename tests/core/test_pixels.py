"""Image files to arrays: the right pixels of every kind, or a true reason."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from lsr.core.colour import STEEPEST
from lsr.core.depth import rounded
from lsr.core.headers import MOST_SCANS, jpeg_scans
from lsr.core.pixels import Rules, UnreadableImageError, decode
from tests.core.awkward import HEIGHT, WIDTH, Awkward, awkward, icc_chunk, ramp, tiff, with_chunks
from tests.data_prep.conftest import deep_png, encode, icc_profile, make_image, png_chunk

FILES = awkward()


def rejected(data: bytes, rules: Rules | None = None) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        decode(data, rules, "The file")
    return str(caught.value)


def apart(found: np.ndarray, file: Awkward) -> float:
    assert found.shape == file.pixels.shape
    return float(np.abs(found - file.pixels).max())


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_awkward_kind_gives_the_pixels_that_it_stands_for(name: str) -> None:
    found = decode(FILES[name].data)
    assert found.image.mode in ("L", "RGB")
    assert apart(found.rgb, FILES[name]) <= FILES[name].within
    assert (found.changes == ()) == (name == "grey")


def test_a_dark_linear_ramp_keeps_its_levels() -> None:
    """Cut to 8 bits before the conversion it would have a fifth of them."""
    assert len(np.unique(decode(FILES["rgb16-linear-dark"].data).rgb[..., 0])) > 60


def test_every_16_bit_level_is_rounded_to_the_nearest() -> None:
    levels = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(rounded(levels), np.round(levels / 257))


def test_an_interlaced_16_bit_png_is_read_too() -> None:
    """Pillow writes no such file: the seven passes are laid out here."""
    three, data = np.dstack([ramp(), ramp(1), ramp(2)]), b""
    passes = "00 88, 04 88, 40 84, 02 44, 20 42, 01 22, 10 21"
    for place, steps in (one.split() for one in passes.split(", ")):
        (y, x), (down, right) = map(int, place), map(int, steps)
        for row in three[y::down, x::right]:
            data += b"\0" + row.astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    found = decode(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
    assert np.array_equal(found.rgb, np.round(three / 257))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "The file is empty."),
        (b"no image at all", "The file is not an image of a known format (avif, bmp, gif, jpg, png, ppm, tif, webp)."),
        (encode(make_image()).replace(b"IHDR", b"IHDX"), "begins like a file of format PNG, and its header is damaged"),
        (encode(make_image())[:900], "The file does not decode: "),
        (tiff(ramp().astype(np.float32)), "floating-point pixels without a defined range"),
        (tiff(ramp().astype(np.int16)), "signed or 32-bit whole numbers (I;16S) without a defined range"),
        (tiff(ramp().astype(np.uint32)), "signed or 32-bit whole numbers (I;32N) without a defined range"),
        (
            tiff(np.stack([ramp()] * 3), photometric="rgb", planarconfig="separate"),
            "16-bit channels in separate planes",
        ),
        (
            with_chunks(encode(make_image()), (b"cICP", b"\x09\x10\0\1")),
            "not converted (primaries 9, transfer 16 of H.273)",
        ),
        (with_chunks(encode(make_image()), (b"cICP", b"\x01\x0d\1\1")), "does not stand for RGB in full range"),
    ],
)
def test_what_is_not_read_right_is_rejected_with_the_reason(data: bytes, says: str) -> None:
    assert says in rejected(data)


def steep_profile(slope: int) -> bytes:
    """A table profile for RGB (v2 lut8, two nodes per channel) whose black part is `slope` times as steep as grey."""
    curve = bytes(min(255, level * slope) for level in range(256))
    nodes = b"".join(bytes([round(255 * (r + g + b) / 3), 128, 128]) for r in (0, 1) for g in (0, 1) for b in (0, 1))
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0\3\3\2\0" + unit + curve * 3 + nodes + bytes(range(256)) * 3
    base = icc_profile(((1, 0, 0), (0, 1, 0), (0, 0, 1)), 1.0)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [
        (b"desc", text),
        (b"A2B0", table),
        (b"cprt", b"text\0\0\0\0none\0"),
        (b"wtpt", b"XYZ \0\0\0\0" + base[68:80]),
    ]
    entries, body = b"", b""
    for name, data in tags:
        entries += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    whole = base[4:12] + b"scnrRGB Lab " + base[24:128] + struct.pack(">I", len(tags)) + entries + body
    return struct.pack(">I", len(whole) + 4) + whole


def test_a_table_profile_converts_16_bits_unless_it_is_too_steep_for_eight() -> None:
    three = np.dstack([ramp()] * 3)
    gentle = with_chunks(deep_png(three), icc_chunk(steep_profile(1)))
    equal = encode(np.round(three / 257).astype(np.uint8), icc_profile=steep_profile(1))
    assert decode(gentle).changes == ("8 bit", "sRGB")
    assert np.array_equal(decode(gentle).rgb, decode(equal).rgb)
    says = rejected(with_chunks(deep_png(three), icc_chunk(steep_profile(STEEPEST + 3))))
    assert "table profile" in says


def bmp_of_runs(width: int, height: int, code: bytes) -> bytes:
    start = 54 + 1024
    head = struct.pack("<2sIHHI", b"BM", start + len(code), 0, 0, start)
    about = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(code), 0, 0, 256, 0)
    return head + about + bytes(1024) + code


def test_bombs_of_work_are_rejected_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = encode(make_image(1, 64, 64), "JPEG", progressive=True)
    scan = many[many.rindex(b"\xff\xda") : -2]
    scans = many[:-2] + scan * MOST_SCANS + b"\xff\xd9"
    short = bmp_of_runs(6000, 1980, b"\0\0" * 1980 + b"\0\1")
    text = b"P2\n4000 1001\n255\n" + b"1 " * 10
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    assert "50 passes over its pixels" in rejected(scans)
    assert "bytes of run-length code, too few for 6000 x 1980 pixels" in rejected(short)
    assert "4000 x 1001 pixels in a code that is slow to read (ppm_plain)" in rejected(text)


def test_scans_are_counted_in_the_image_and_not_in_what_lies_beside_it() -> None:
    progressive = encode(make_image(1, 64, 64), "JPEG", progressive=True)
    assert jpeg_scans(encode(make_image(1, 64, 64), "JPEG")) == 1
    assert jpeg_scans(progressive) == 10
    inside = encode(make_image(1, 64, 64), "JPEG", exif=b"Exif\0\0" + b"\xff\xda\0\2" * 100)
    assert jpeg_scans(inside) == 1
    assert jpeg_scans(progressive + b"\xff\xda\0\2" * 100) == 10
    assert decode(progressive + progressive).changes == ()


def test_an_ordinary_run_length_bmp_is_read() -> None:
    row = bytes([WIDTH, 7]) + b"\0\0"
    assert decode(bmp_of_runs(WIDTH, HEIGHT, row * HEIGHT + b"\0\1")).rgb.shape == (HEIGHT, WIDTH, 3)


def test_the_limits_are_exact_and_threads_do_not_see_each_others() -> None:
    data = encode(make_image(1, 40, 50))

    def one(limit: int) -> bool:
        try:
            return decode(data, Rules(max_pixels=limit)).image.size == (50, 40)
        except UnreadableImageError:
            return False

    limits = [1999, 2000, 10, 120_000_000] * 50
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, limits)) == [limit >= 2000 for limit in limits]
    assert Image.MAX_IMAGE_PIXELS == 89478485


def test_a_webp_canvas_is_not_made_before_its_size_is_known() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("black", "red")]
    data = bytearray(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = (16383).to_bytes(3, "little") * 2
    assert "more than max_pixels = 1000000" in rejected(bytes(data), Rules(max_pixels=1_000_000))


def test_transparency_and_frames_can_be_rejected() -> None:
    rules = Rules(alpha="reject", animated="reject")
    assert "transparent pixels" in rejected(FILES["alpha"].data, rules)
    assert "transparent pixels" in rejected(FILES["grey16-key"].data, rules)
    assert "several frames" in rejected(FILES["animated-GIF"].data, rules)
    assert decode(encode(np.dstack([make_image(), np.full((48, 64), 255, np.uint8)])), rules).changes == ("mode RGBA",)


def test_transparency_may_lie_on_black() -> None:
    file = FILES["alpha"]
    with Image.open(io.BytesIO(file.data)) as image:
        stored = np.asarray(image).astype(float)
    wanted = stored[..., :3] * stored[..., 3:] / 255
    assert np.abs(decode(file.data, Rules(alpha="black")).rgb - wanted).max() <= 1
