"""How LR images are made of HR ones, as data; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradationConfig:
    """A degradation. kind: `bicubic` (antialiased). factor: the LR side is the tile's side divided by it.
    upsample: how LR is brought back to the tile's size before encoding (method.md 1.5; the paper's code: nearest).

    The rest makes it a blind one, drawn anew for every sample. blur: range of a Gaussian's deviation in pixels of the
    tile, before the reduction. noise: range of white noise's deviation in 8-bit grey levels, after it. jpeg: range of
    the quality LR is then stored with, None for no JPEG.
    """

    kind: Literal["bicubic", "area"] = "bicubic"
    factor: int = 4
    upsample: Literal["nearest", "bilinear", "bicubic"] = "nearest"
    blur: tuple[float, float] = (0.0, 0.0)
    noise: tuple[float, float] = (0.0, 0.0)
    jpeg: tuple[int, int] | None = None

    @property
    def sampled(self) -> bool:
        """Whether samples are degraded each in their own way, by draws."""
        return self.blur[1] > 0 or self.noise[1] > 0 or self.jpeg is not None

    def faults(self) -> list[str]:
        out = [] if self.factor >= 1 else [f"factor must be at least 1, found {self.factor}."]
        out += [
            f"{name} must satisfy 0 <= min <= max, found {low, high}."
            for name, (low, high) in (("blur", self.blur), ("noise", self.noise))
            if not 0 <= low <= high
        ]
        if self.jpeg is not None and not 1 <= self.jpeg[0] <= self.jpeg[1] <= 100:
            out.append(f"jpeg must satisfy 1 <= min <= max <= 100, or null for none, found {self.jpeg}.")
        return out
