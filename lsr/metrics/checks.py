"""What every metric asks of its two inputs."""

from __future__ import annotations

from torch import Tensor

from lsr.core.errors import InputError


def check_pair(name: str, a: Tensor, b: Tensor, min_side: int = 1) -> None:
    """Raises InputError unless `a` and `b` are floating [B, 3, H, W] of one shape with sides of at least `min_side`."""
    if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3:
        raise InputError(
            f"{name} needs two image batches of one shape [B, 3, H, W], found {list(a.shape)} and {list(b.shape)}."
        )
    if not (a.is_floating_point() and b.is_floating_point()):
        raise InputError(
            f"{name} needs floating-point images in [0, 1], found {a.dtype} and {b.dtype}; divide 8-bit images by 255."
        )
    if min(a.shape[-2:]) < min_side:
        raise InputError(
            f"{name} needs images of at least {min_side} x {min_side} pixels, found {a.shape[-2]} x {a.shape[-1]}; "
            "compare larger crops or leave this metric out."
        )
