"""What may be asked of a system: an image, and how large the output is. Every rule about either stands here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsr.core.errors import InputError

MAX_PIXELS = 1 << 30
"""Of one output."""

Image = NDArray[np.uint8]
Size = tuple[int, int]


def check_size(size: Size) -> None:
    """Raises InputError unless `size` is (height, width), whole numbers of at least 1, MAX_PIXELS together."""
    if len(size) != 2 or any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in size):
        raise InputError(f"A size must be (height, width) in whole pixels, both at least 1, found {size!r}.")
    if int(size[0]) * int(size[1]) > MAX_PIXELS:
        raise InputError(f"An output may have at most {MAX_PIXELS} pixels, found {size[0]} x {size[1]}; ask for less.")


def check_image(image: Image) -> None:
    """Raises InputError unless `image` is uint8 [height, width, 3] with sides of at least 1."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        found = f"{image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"An image must be a numpy array of uint8, found {found}; see lsr.inference.images.")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"An image must be [height, width, 3] with sides of at least 1, found {image.shape}.")


@dataclass(frozen=True, slots=True)
class Target:
    """How large an output is: `scale` times the image's sides, any finite factor above 0, or `size` (height, width).

    Raises InputError unless exactly one is given, and for what no image can be brought to.
    """

    scale: float | None = None
    size: Size | None = None

    def __post_init__(self) -> None:
        if (self.scale is None) == (self.size is None):
            given = "neither" if self.scale is None else "both"
            raise InputError(f"Give either a scale or a size, found {given}.")
        if self.size is not None:
            check_size(self.size)
            return
        scale = self.scale
        number = isinstance(scale, int | float | np.number) and not isinstance(scale, bool)
        if scale is None or not number or not math.isfinite(scale) or scale <= 0:
            raise InputError(f"scale must be a finite number above 0, found {scale!r}.")
        # Of an image of one pixel already; what is too much for a larger one, `of` says.
        self.of((1, 1))

    def of(self, image: Size) -> Size:
        """Output (height, width) for an image of size `image`: by scale each side rounded, at least 1.

        Raises InputError for more than MAX_PIXELS.
        """
        if self.size is not None:
            return int(self.size[0]), int(self.size[1])
        assert self.scale is not None
        height, width = (max(1, round(side * float(self.scale))) for side in image)
        check_size((height, width))
        return height, width
