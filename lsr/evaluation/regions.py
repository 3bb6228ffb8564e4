"""Which part of a photo is measured: a pure function of its pixels, so every system sees the same regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.core.errors import InputError

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A square of a photo, in its pixels. detail: mean |dx| + |dy| of its grey levels."""

    top: int
    left: int
    side: int
    detail: float

    def cut(self, photo: Image) -> Image:
        """The region's pixels, [side, side, 3]."""
        return photo[self.top : self.top + self.side, self.left : self.left + self.side]


def detail_map(photo: Image) -> Floats:
    """|dx| + |dy| of the grey levels, [H, W]; zero in the last row and column of each difference."""
    grey: Floats = photo.astype(np.float64).mean(axis=2)
    out = np.zeros_like(grey)
    out[:, :-1] += np.abs(np.diff(grey, axis=1))
    out[:-1, :] += np.abs(np.diff(grey, axis=0))
    return out


def _box_means(values: Floats, side: int, tops: list[int], lefts: list[int]) -> Floats:
    total = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    y, x = np.array(tops)[:, None], np.array(lefts)[None, :]
    sums = total[y + side, x + side] - total[y, x + side] - total[y + side, x] + total[y, x]
    return np.asarray(sums / side**2)


def _positions(length: int, side: int) -> list[int]:
    step = max(side // 4, 1)
    return sorted({*range(0, length - side + 1, step), length - side})


def choose_regions(photo: Image, *, crops: int, side: int) -> list[Region]:
    """At most `crops` non-overlapping squares of the photo, the most detailed first.

    photo: [H, W, 3] uint8. side: of the squares; a smaller photo gives its one largest, most detailed square.
    Candidates lie on a lattice of side / 4; equal detail is decided by the place (top, then left).
    Fewer than `crops` come back when no more fit. Raises InputError for another shape or type.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise InputError(
            f"Evaluation takes RGB images [H, W, 3] of uint8, found {photo.dtype} {list(photo.shape)}; convert them."
        )
    height, width = photo.shape[:2]
    side = min(side, height, width)
    tops, lefts = _positions(height, side), _positions(width, side)
    means = _box_means(detail_map(photo), side, tops, lefts)
    # Rounded, so that the order does not hang on the last bit of a cumulative sum.
    candidates = sorted((-round(float(means[i, j]), 6), y, x) for i, y in enumerate(tops) for j, x in enumerate(lefts))
    chosen: list[Region] = []
    for negative, top, left in candidates:
        if len(chosen) == crops:
            break
        if all(abs(top - other.top) >= side or abs(left - other.left) >= side for other in chosen):
            chosen.append(Region(top=top, left=left, side=side, detail=-negative))
    return chosen
