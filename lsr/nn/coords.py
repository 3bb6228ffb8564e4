"""The one coordinate convention of LSR: pixel centres, align_corners=False, images spanning [-1, 1].

Positions are float64, so that index arithmetic at pixel borders is exact for any size in use.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_centres(count: int, start: int = 0, stop: int | None = None) -> Tensor:
    """Centres of pixels start..stop-1 out of `count` that tile [-1, 1]: -1 + (2i + 1) / count. Float64 [stop-start]."""
    index = torch.arange(start, count if stop is None else stop, dtype=torch.float64)
    return (2 * index + 1) / count - 1


def feature_positions(count: int, extent: float, start: int = 0, stop: int | None = None) -> Tensor:
    """Where output pixels start..stop-1 of `count` lie on a feature axis, in units of feature indices.

    extent: how many feature pixels the `count` output pixels span, counted from the first one; the centre of feature
    pixel j is at j. Float64 [stop-start], from -0.5 (exclusive) to extent - 0.5 (exclusive).
    """
    return ((pixel_centres(count, start, stop) + 1) * extent - 1) / 2
