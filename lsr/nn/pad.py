"""Padding at the right and bottom by repeating the last column and row."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lsr.core.errors import InputError


def pad_to_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    """x [B, C, H, W] with its edge repeated up to `size`; x itself where it fits. Raises InputError for a larger x."""
    bottom, right = size[0] - x.shape[-2], size[1] - x.shape[-1]
    if min(bottom, right) < 0:
        raise InputError(f"An image that is padded to {size} must have at most that size, found {tuple(x.shape[-2:])}.")
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if right or bottom else x


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """x [B, C, H, W] with its edge repeated until `multiple` divides both sides."""
    height, width = x.shape[-2:]
    return pad_to_size(x, (height + -height % multiple, width + -width % multiple))
