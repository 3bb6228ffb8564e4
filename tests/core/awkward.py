"""One awkward image file of each kind, with the pixels that it stands for, by formulas that share nothing with lsr."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.data_prep.conftest import WIDE, deep_png, encode, icc_profile, png_chunk

HEIGHT, WIDTH = 40, 64
P3_D50 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + struct.pack(
    ">5i", *(round(65536 * value) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
"""Linear light, both under D65 (CSS Color 4)."""
D50_TO_SRGB = np.array([[3.1342, -1.6173, -0.4907], [-0.9787, 1.9161, 0.0335], [0.0720, -0.2290, 1.4057]])


@dataclass(frozen=True)
class Awkward:
    """data: the file. pixels: float64 [H, W, 3], what it stands for in sRGB. within: levels a reader may differ."""

    data: bytes
    pixels: NDArray[np.float64]
    within: float


def encoded(light: Any) -> NDArray[np.float64]:
    """sRGB levels in [0, 255] of linear light."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def decoded(levels: Any) -> NDArray[np.float64]:
    """Linear light of sRGB levels in [0, 255]."""
    v = np.asarray(levels) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def halves(left: Any, right: Any) -> NDArray[Any]:
    """[H, W, C]: one colour left, another right, each of whole JPEG blocks."""
    out = np.empty((HEIGHT, WIDTH, len(left)), np.asarray(left).dtype)
    out[:, : WIDTH // 2], out[:, WIDTH // 2 :] = left, right
    return out


def ramp(shift: int = 0) -> NDArray[np.uint16]:
    """uint16 [H, W] over the whole range, each row another."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return ((columns * 1039 + rows * 521 + shift) % 65536).astype(np.uint16)


def grey(levels: Any) -> NDArray[np.float64]:
    return np.repeat(np.asarray(levels, dtype=np.float64)[..., None], 3, axis=2)


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with chunks right behind its header."""
    return png[:33] + b"".join(png_chunk(kind, data) for kind, data in chunks) + png[33:]


def icc_chunk(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"p\0\0" + zlib.compress(profile)


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def raw_png(pixels: NDArray[np.uint8], depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of packed rows [H, bytes]."""
    size = struct.pack(">II", pixels.shape[1] * 8 // (depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour]), pixels.shape[0])
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    parts = [(b"IHDR", size + bytes([depth, colour, 0, 0, 0])), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, part) for kind, part in parts)


ADOBE = halves(np.array([60, 180, 60], np.uint8), np.array([180, 60, 60], np.uint8))
ADOBE_RIGHT = halves(np.array([0.0, 181, 42]), np.array([208.0, 57, 57]))
# Of P3 primaries and gamma 2.2.
P3_RIGHT = halves(np.array([0.0, 185, 22]), np.array([197.0, 43, 51]))


def profiles() -> dict[str, Awkward]:
    wide, p3 = icc_profile(WIDE, 2.19921875), icc_profile(P3_D50, 2.2)
    options: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    found = {}
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        more = options.get(kind, {})
        # JPEG's own colours cannot hold every RGB triple.
        within = 2 if kind == "JPEG" else 1
        found[f"adobe-{kind}"] = Awkward(encode(ADOBE, kind, icc_profile=wide, **more), ADOBE_RIGHT, within)
        found[f"p3-{kind}"] = Awkward(encode(ADOBE, kind, icc_profile=p3, **more), P3_RIGHT, within)
    alpha = np.dstack([ADOBE, np.where(np.arange(HEIGHT) < 20, 0, 255)[:, None].repeat(WIDTH, 1).astype(np.uint8)])
    hole = np.where(alpha[..., 3:] == 0, 255, ADOBE_RIGHT)
    found["adobe-alpha"] = Awkward(encode(alpha, icc_profile=wide), hole, 1)
    linear = encoded(np.minimum(decoded(ADOBE) @ P3_TO_SRGB.T, 1))
    display = icc_profile(P3_D50, 1, curve=SRGB_CURVE)
    found["display-p3"] = Awkward(encode(ADOBE, icc_profile=display), linear, 1)
    found["cicp-p3"] = Awkward(with_chunks(encode(ADOBE), (b"cICP", b"\x0c\x0d\0\1")), linear, 1)
    avif = encode(ADOBE, "AVIF", quality=100, subsampling="4:4:4", speed=10)
    at = avif.index(b"colrnclx") + 8
    found["nclx-p3"] = Awkward(avif[:at] + b"\0\x0c" + avif[at + 2 :], linear, 4)
    return found


def lab_light(lab: tuple[int, int, int]) -> NDArray[np.float64]:
    """Linear sRGB of L*a*b* (D50)."""
    y = (lab[0] + 16) / 116
    f = np.array([y + lab[1] / 500, y, y - lab[2] / 200])
    xyz = np.array([0.9642, 1, 0.8249]) * np.where(f > 6 / 29, f**3, (f - 4 / 29) * 108 / 841)
    return D50_TO_SRGB @ xyz


INKS = {(0, 0, 0): (100, 0, 0), (1, 0, 0): (60, -20, -30), (0, 1, 1): (50, 50, 30)}
"""L*a*b* of some overprints of cyan, magenta and yellow."""


def cmyk_profile() -> bytes:
    """An output profile of one table with two nodes per ink: INKS, grey for other overprints, black under black."""
    nodes = b""
    for number in range(16):
        c, m, y, k = (number >> bit & 1 for bit in (3, 2, 1, 0))
        lab = (0, 0, 0) if k else INKS.get((c, m, y), (30, 0, 0))
        nodes += bytes([round(lab[0] * 2.55), lab[1] + 128, lab[2] + 128])
    identity = bytes(range(256))
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0\4\3\2\0" + unit + identity * 4 + nodes + identity * 3
    rgb = icc_profile(((1, 0, 0), (0, 1, 0), (0, 0, 1)), 1.0)
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78), b"A2B0": table}
    tags |= {b"cprt": b"text\0\0\0\0none\0", b"wtpt": b"XYZ \0\0\0\0" + rgb[68:80]}
    entries, body = b"", b""
    for name, data in tags.items():
        entries += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = rgb[4:12] + b"prtrCMYKLab " + rgb[24:128]
    whole = head + struct.pack(">I", len(tags)) + entries + body
    return struct.pack(">I", len(whole) + 4) + whole


def inks() -> Awkward:
    levels = halves(np.array([255, 0, 0, 0], np.uint8), np.array([0, 255, 255, 0], np.uint8))
    image = Image.frombytes("CMYK", (WIDTH, HEIGHT), levels.tobytes())
    right = halves(*(encoded(lab_light(INKS[ink])) for ink in ((1, 0, 0), (0, 1, 1))))
    return Awkward(encode(image, "TIFF", icc_profile=cmyk_profile()), right, 2)


def deep() -> dict[str, Awkward]:
    """16 bits in every way that is read; exact where nothing is converted."""
    one, linear = ramp(), icc_profile((), 1.0, b"GRAY")
    three = np.dstack([ramp(), ramp(20_000), ramp(40_000)])
    dark = np.dstack([one // 20, one // 30, one // 40])
    rgb_linear = icc_profile(((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)), 1.0)
    hole = deep_png(ramp(5))
    key = struct.pack(">H", ramp(5)[3, 7])
    opacity = ramp(777)
    mixed = over(three / 257, opacity[..., None] / 65535)
    four = np.dstack([three, opacity])
    twelve = ramp(9) % 4096
    left, right = twelve[:, ::2], twelve[:, 1::2]
    packed = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], 2)
    thousand = ramp(11) % 1001
    turned = tiff(np.ascontiguousarray(np.rot90(three)), photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    return {
        "grey16": Awkward(deep_png(one), np.round(grey(one) / 257), 0),
        "grey16-linear": Awkward(with_chunks(deep_png(one), icc_chunk(linear)), encoded(grey(one) / 65535), 1),
        "grey16-key": Awkward(
            with_chunks(hole, (b"tRNS", key)),
            np.where(grey(ramp(5)) == ramp(5)[3, 7], 255, np.round(grey(ramp(5)) / 257)),
            0,
        ),
        "grey16-tiff": Awkward(tiff(ramp(1), byteorder=">"), np.round(grey(ramp(1)) / 257), 0),
        "grey16-white-is-zero": Awkward(
            tiff(ramp(2), photometric="miniswhite", compression="zlib"), np.round(grey(65535 - ramp(2)) / 257), 0
        ),
        "grey12-tiff": Awkward(twelve_bits(packed.astype(np.uint8)), 255 * grey(twelve) / 4095, 0.51),
        "pgm-1000": Awkward(
            b"P5\n%d %d\n1000\n" % (WIDTH, HEIGHT) + thousand.astype(">u2").tobytes(), 255 * grey(thousand) / 1000, 0.51
        ),
        "ppm16": Awkward(
            b"P6\n%d %d\n65535\n" % (WIDTH, HEIGHT) + three[::-1].astype(">u2").tobytes(),
            np.round(three[::-1] / 257),
            0,
        ),
        "rgb16": Awkward(deep_png(three), np.round(three / 257), 0),
        "rgb16-linear-dark": Awkward(with_chunks(deep_png(dark), icc_chunk(rgb_linear)), encoded(dark / 65535), 1),
        "rgb16-tiff": Awkward(
            tiff(three[:, ::-1], photometric="rgb", byteorder=">"), np.round(three[:, ::-1] / 257), 0
        ),
        "rgb16-tiff-turned": Awkward(turned, np.round(three / 257), 0),
        "rgba16-tiff": Awkward(tiff(four[::-1], photometric="rgb", extrasamples=["unassalpha"]), mixed[::-1], 1.5),
        "rgba16": Awkward(raw_png(four.astype(">u2").view(np.uint8).reshape(HEIGHT, -1), 16, 6), mixed, 1.5),
    }


def twelve_bits(packed: NDArray[np.uint8]) -> bytes:
    """A TIFF of packed 12-bit grey levels, which tifffile does not write."""
    data = packed.tobytes()
    entries = [(256, WIDTH), (257, HEIGHT), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, HEIGHT)]
    entries.append((279, len(data)))
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(entries)) + table + bytes(4)


def over(rgb: Any, share: Any) -> NDArray[np.float64]:
    """A colour of an opacity in [0, 1] on white."""
    white: NDArray[np.float64] = rgb * share + 255 * (1 - share)
    return white


def transparent() -> dict[str, Awkward]:
    rng = np.random.default_rng(3)
    colour, opacity = (
        rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
        rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8),
    )
    share = opacity[..., None] / 255
    steps = (np.indices((HEIGHT, WIDTH)).sum(0) % 16).astype(np.uint8)
    palette = rng.integers(0, 256, (16, 3), np.uint8)
    clear = rng.integers(0, 256, 16, np.uint8)
    indexed = Image.fromarray(steps, "P")
    indexed.putpalette(palette.tobytes())
    two = np.dstack([colour[..., 0], opacity])
    packed = steps[:, ::2] << 4 | steps[:, 1::2]
    return {
        "alpha": Awkward(encode(np.dstack([colour, opacity])), over(colour, share), 1),
        "grey-alpha": Awkward(encode(Image.fromarray(two)), over(grey(colour[..., 0]), share), 1),
        "palette-alpha": Awkward(
            encode(indexed, transparency=clear.tobytes()), over(palette[steps], clear[steps][..., None] / 255), 1
        ),
        "grey4-key": Awkward(raw_png(packed, 4, 0, (b"tRNS", b"\0\5")), grey(np.where(steps == 5, 255, steps * 17)), 0),
    }


TURNED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 3),
}
"""What is stored, of an upright image, under each EXIF orientation."""


def turned() -> dict[str, Awkward]:
    found = {}
    for orientation, store in TURNED.items():
        for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
            colours = np.random.default_rng([orientation, len(kind)]).integers(0, 256, (5, 8, 3), np.uint8)
            upright = colours.repeat(8, axis=0).repeat(8, axis=1)
            exif = Image.Exif()
            exif[0x0112] = orientation
            more = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
            data = encode(np.ascontiguousarray(store(upright)), kind, exif=exif, **more)
            found[f"turned-{orientation}-{kind}"] = Awkward(data, upright.astype(float), 2 if kind == "JPEG" else 0)
    return found


def animated() -> dict[str, Awkward]:
    frames = [np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in (40, 41, 200)]
    found = {}
    for number, (kind, more) in enumerate((("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}))):
        first = frames[0] + number
        images = [Image.fromarray(frame) for frame in (first, frames[2])]
        data = encode(images[0], kind, save_all=True, append_images=images[1:], **more)
        found[f"animated-{kind}"] = Awkward(data, first.astype(float), 0)
    return found


def awkward() -> dict[str, Awkward]:
    """Every file by its kind."""
    plain = np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    return {
        **profiles(),
        **deep(),
        **transparent(),
        **turned(),
        **animated(),
        "grey": Awkward(encode(plain), grey(plain), 0),
        "cmyk": inks(),
    }
