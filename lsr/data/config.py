"""How LR images are made of HR ones, as data; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from lsr.core.config import Config, NonNegative, Positive

Quality = Annotated[int, Ge(1), Le(100)]


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradationConfig(Config):
    """A degradation. With `blur`, `noise` or `jpeg` it is a blind one, drawn anew for every sample."""

    kind: Literal["bicubic", "area"] = "bicubic"
    """The reduction, antialiased."""
    factor: Positive = 4
    """HR side / LR side."""
    upsample: Literal["nearest", "bilinear", "bicubic"] = "nearest"
    """How LR is brought back to the tile's size before encoding (method.md 1.5; the paper's code: nearest)."""
    blur: tuple[NonNegative, NonNegative] = (0.0, 0.0)
    """(min, max) of a Gaussian's deviation in pixels of the tile, before the reduction."""
    noise: tuple[NonNegative, NonNegative] = (0.0, 0.0)
    """(min, max) of white noise's deviation in 8-bit grey levels, after the reduction."""
    jpeg: tuple[Quality, Quality] | None = None
    """(min, max) of the quality with which LR is then stored; null for no JPEG."""

    @property
    def sampled(self) -> bool:
        """Whether samples are degraded each in their own way, by draws."""
        return self.blur[1] > 0 or self.noise[1] > 0 or self.jpeg is not None

    def faults(self) -> list[str]:
        ranges = {"blur": self.blur, "noise": self.noise, "jpeg": self.jpeg or (1, 100)}
        return [
            f"{name} must satisfy min <= max, found {low, high}." for name, (low, high) in ranges.items() if low > high
        ]
