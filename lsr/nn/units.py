"""Pixels of 8 bits to what networks see, [-1, 1], and back."""

from __future__ import annotations

import torch
from torch import Tensor

HALF_RANGE = 127.5
"""8-bit levels per unit of [-1, 1]."""


def from_levels(levels: Tensor) -> Tensor:
    """uint8 of any shape -> float32 in [-1, 1]."""
    return levels.float() / HALF_RANGE - 1


def to_levels(x: Tensor) -> Tensor:
    """[-1, 1] of any shape -> the level of each number in [0, 255], not rounded; what lies outside is clipped."""
    return (x.clamp(-1, 1) + 1) * HALF_RANGE


def to_bytes(x: Tensor) -> Tensor:
    """[-1, 1] of any shape -> uint8, the nearest level; what lies outside is clipped."""
    return to_levels(x.float()).round().to(torch.uint8)
