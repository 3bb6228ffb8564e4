"""Maps that are too large for one forward: overlapping windows, blended by linear ramps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lsr.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Window:
    """side, overlap: in latent pixels, 0 <= overlap < side. A map no larger than `side` is evaluated whole."""

    side: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.side:
            raise InputError(
                f"A window needs 0 <= overlap < side, found side {self.side} and overlap {self.overlap} latent pixels."
            )

    @classmethod
    def of(cls, side: int, multiple: int) -> Window:
        """At least `side`, rounded up to a multiple of the U-Net's factor, a quarter of it overlapping."""
        if side < 1:
            raise InputError(f"A window's side must be at least 1 latent pixel, found {side}.")
        rounded = math.ceil(side / multiple) * multiple
        return cls(rounded, rounded // 4)


def starts(length: int, window: Window) -> list[int]:
    """Where windows begin so that they cover 0..length-1 and neighbours share at least `overlap`."""
    if length <= window.side:
        return [0]
    stride = window.side - window.overlap
    return [*range(0, length - window.side, stride), length - window.side]


def _ramp(size: int, overlap: int) -> Tensor:
    """Weights [size] that rise linearly over the first `overlap` + 1 pixels and fall over the last; all positive."""
    rising = torch.arange(1, size + 1, dtype=torch.float32)
    return torch.minimum(rising, rising.flip(0)).clamp(max=overlap + 1)


def blend(part: Callable[[slice, slice], Tensor], size: tuple[int, int], window: Window) -> Tensor:
    """The map [..., *size] whose windows `part(rows, columns)` [..., rows, columns] evaluates.

    A single window is taken as it is. Where windows overlap, each counts by its distance from its own border.
    """
    ys, xs = (starts(length, window) for length in size)
    height, width = (min(length, window.side) for length in size)
    if len(ys) == len(xs) == 1:
        return part(slice(0, height), slice(0, width))
    weight = _ramp(height, window.overlap)[:, None] * _ramp(width, window.overlap)
    total = torch.zeros(size)
    out: Tensor | None = None
    for y in ys:
        for x in xs:
            rows, columns = slice(y, y + height), slice(x, x + width)
            value = part(rows, columns)
            if out is None:
                out = value.new_zeros((*value.shape[:-2], *size))
            out[..., rows, columns] += value * weight.to(value)
            total[rows, columns] += weight
    assert out is not None
    return out / total.to(out)
