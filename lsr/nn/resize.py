"""Separable image resizing as two matrix products.

A matrix product has a deterministic backward on every device, which torch's antialiased resize has not. Kernels are
Pillow's: when reducing, the filter is stretched by the reduction (antialiasing); when enlarging it is used as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from lsr.core.errors import InputError

Kind = Literal["bicubic", "bilinear", "area", "nearest"]

_CACHED_ENTRIES = 1 << 20


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _bilinear(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _area(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


_FILTERS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "bicubic": (_bicubic, 2.0),
    "bilinear": (_bilinear, 1.0),
    "area": (_area, 0.5),
}


def resize_matrix(source: int, target: int, kind: Kind, rows: tuple[int, int] | None = None) -> Tensor:
    """The float64 matrix [target, source] whose rows are the weights of one output pixel; every row sums to 1.

    rows: (start, stop) makes only these rows of it.
    """
    start, stop = rows or (0, target)
    matrix = torch.zeros(stop - start, source, dtype=torch.float64)
    if kind == "nearest":
        # In integers, so that a centre on the border of two pixels always takes the right one.
        return matrix.scatter_(1, ((2 * torch.arange(start, stop) + 1) * source // (2 * target))[:, None], 1.0)
    scale = source / target
    centre = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * scale
    kernel, radius = _FILTERS[kind]
    stretch = max(scale, 1.0)
    support = radius * stretch
    low = (centre - support + 0.5).floor().clamp(min=0)
    index = low[:, None] + torch.arange(2 * math.ceil(support) + 1, dtype=torch.float64)
    high = (centre + support + 0.5).floor().clamp(max=source)[:, None]
    weight = kernel((index - centre[:, None] + 0.5) / stretch)
    weight = torch.where(index < high, weight, 0.0)
    weight = weight / weight.sum(dim=1, keepdim=True)
    return matrix.scatter_add_(1, index.long().clamp(max=source - 1), weight)


_cached_matrix = lru_cache(maxsize=64)(resize_matrix)


def source_rows(source: int, target: int, kind: Kind, rows: tuple[int, int]) -> tuple[int, int]:
    """(start, stop): the rows of `source` that `rows` of `target` depend on, and perhaps a few more."""
    scale = source / target
    if source == target:
        return rows
    radius = _FILTERS[kind][1] if kind in _FILTERS else 0.5
    reach = radius * max(scale, 1.0) + 1
    low, high = (rows[0] + 0.5) * scale - reach, (rows[1] - 0.5) * scale + reach
    return max(0, math.floor(low)), min(source, math.ceil(high))


def _along_width(
    x: Tensor, target: int, kind: Kind, rows: tuple[int, int] | None = None, part: tuple[int, int] | None = None
) -> Tensor:
    """part: x holds the places from part[0] of part[1]."""
    first, source = part or (0, x.shape[-1])
    start, stop = rows or (0, target)
    if source == target:
        return x[..., start - first : stop - first]
    build = _cached_matrix if source * (stop - start) <= _CACHED_ENTRIES else resize_matrix
    matrix = build(source, target, kind, rows)[:, first : first + x.shape[-1]]
    return x @ matrix.to(x.device, x.dtype).T


def resize(
    x: Tensor,
    size: tuple[int, int],
    kind: Kind = "bicubic",
    rows: tuple[int, int] | None = None,
    part: tuple[int, int] | None = None,
) -> Tensor:
    """Resize x [..., H, W] (floating point, any range) to [..., *size], antialiased when reducing.

    rows: (start, stop) gives only these rows of the result. part: (first, height) says that x holds the rows from
    `first` on of an image of `height` rows; `source_rows` says which ones the result needs.

    Equals Pillow's BICUBIC, BILINEAR, BOX or NEAREST on float images to 1e-5. `bicubic` may overshoot the input's
    range. Runs in x's own precision, also under autocast. Raises InputError for an empty size, an integer image or
    an unknown kind.
    """
    if min(*size, *x.shape[-2:]) < 1:
        raise InputError(f"Image sides must be at least 1, found {tuple(x.shape[-2:])} resized to {tuple(size)}.")
    if not x.is_floating_point():
        raise InputError(f"resize needs a floating-point image, found {x.dtype}; convert it first.")
    if kind not in get_args(Kind):
        raise InputError(f"resize kind must be one of {', '.join(get_args(Kind))}, found {kind!r}.")
    with torch.autocast(x.device.type, enabled=False):
        wide = _along_width(x, size[1], kind)
        return _along_width(wide.mT, size[0], kind, rows, part).mT.contiguous()
