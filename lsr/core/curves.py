"""Colour spaces of three curves and a matrix, from the numbers of H.273 or from an ICC profile, to sRGB in 16 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Levels8 = NDArray[np.uint8]
Levels16 = NDArray[np.uint16]
Floats = NDArray[np.float64]

# By ITU-T H.273: x, y of red, green, blue, all with the white point D65. 2 is "not stated".
_BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
PRIMARIES = {
    1: _BT709,
    2: _BT709,
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
# Images that name a camera curve (BT.709 and its siblings) are shown by the sRGB curve everywhere.
TRANSFERS = {1: 0.0, 2: 0.0, 6: 0.0, 13: 0.0, 14: 0.0, 15: 0.0, 4: 2.2, 5: 2.8, 8: 1.0}
"""Exponent; 0 is the sRGB curve."""
D65 = (0.3127, 0.3290)
# Linear sRGB of the profile connection space, XYZ under D50.
_FROM_D50 = np.linalg.inv(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)


def srgb_decoded(levels: Floats) -> Floats:
    """Linear light of sRGB values, both in [0, 1]."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def srgb_encoded(light: Floats) -> Floats:
    """sRGB values of linear light, both in [0, 1]."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


_RAMP = np.linspace(0, 1, 65536)
_ENCODED = np.round(255 * srgb_encoded(_RAMP)).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Shaper:
    """A colour space of three curves and a matrix. curves: float32 [3, 65536], linear light of each 16-bit level.
    matrix: float32 [3, 3], to linear sRGB."""

    curves: NDArray[np.float32]
    matrix: NDArray[np.float32]

    def to_srgb(self, levels: Levels16) -> Levels8:
        """uint16 [..., 3] -> uint8 [..., 3]; colours outside sRGB are clipped."""
        light = np.stack([self.curves[channel][levels[..., channel]] for channel in range(3)], axis=-1)
        light = (light @ self.matrix.T).clip(0, 1)
        return _ENCODED[(light * 65535 + 0.5).astype(np.uint16)]


@lru_cache(maxsize=16)
def coded_shaper(primaries: int, transfer: int) -> Shaper | None:
    exponent = TRANSFERS[transfer]
    if PRIMARIES[primaries] == _BT709 and not exponent:
        return None
    curve = _RAMP**exponent if exponent else srgb_decoded(_RAMP)
    matrix = np.linalg.inv(_to_xyz(_BT709)) @ _to_xyz(PRIMARIES[primaries])
    return Shaper(np.stack([curve] * 3).astype(np.float32), matrix.astype(np.float32))


def _to_xyz(primaries: tuple[float, ...]) -> Floats:
    x, y = np.array(primaries[0::2]), np.array(primaries[1::2])
    columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    return columns * np.linalg.solve(columns, white)


@lru_cache(maxsize=16)
def profiled_shaper(profile: bytes) -> Shaper | None:
    """Curves and matrix of an ICC profile; None for one with tables, or that this reads no curve of."""
    tags = _tags(profile)
    if any(name.startswith(b"A2B") for name in tags):
        return None
    try:
        if profile[16:24] == b"GRAYXYZ ":
            curve = _curve(tags[b"kTRC"]).clip(0, 1).astype(np.float32)
            return Shaper(np.stack([curve] * 3), np.eye(3, dtype=np.float32))
        curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (KeyError, ValueError, struct.error):
        return None
    matrix = _FROM_D50 @ (np.array(columns, dtype=np.float64).T / 65536)
    return Shaper(curves.clip(0, 1).astype(np.float32), matrix.astype(np.float32))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    try:
        count = min(struct.unpack_from(">I", profile, 128)[0], 100)
        entries = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count)]
    except struct.error:
        return {}
    return {name: profile[start : start + size] for name, start, size in entries}


def _curve(tag: bytes) -> Floats:
    """Linear light of every 16-bit level by a `curv` or `para` tag. Raises ValueError or struct.error for others."""
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        if count == 0:
            return _RAMP
        values = np.frombuffer(tag, ">u2", count, 12)
        return _RAMP ** (values[0] / 256) if count == 1 else np.interp(_RAMP, np.linspace(0, 1, count), values / 65535)
    if tag[:4] != b"para":
        raise ValueError(tag[:4])
    kind = struct.unpack_from(">H", tag, 8)[0]
    given = [value / 65536 for value in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i" if kind < 5 else "", tag, 12)]
    if not given:
        raise ValueError(kind)
    return _parametric(kind, given)


def _parametric(kind: int, given: list[float]) -> Floats:
    """y = (a x + b)^g + e from d on, c x + f below; the kinds of ICC leave parameters out."""
    g, a, b, c, d, e, f = 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (0, 1, 2):
        g, a, b, e = [*given, *(1.0, 0.0, 0.0)[len(given) - 1 :]]
        d, f = (-b / a if a else 0.0), e
    else:
        g, a, b, c, d, e, f = [*given, *(0.0, 0.0)[: 7 - len(given)]]
    return np.where(d <= _RAMP, np.maximum(a * _RAMP + b, 0) ** g + e, c * _RAMP + f)
