"""Tiles as tensors and images for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.nn.resize import resize
from lsr.nn.units import to_bytes

SHOWN = 4


def lr_image(batch: Mapping[str, Tensor], x: Tensor, degrade: Callable[[Tensor], Tensor]) -> Tensor:
    """The LR image that came with the batch (of a sampled degradation), else what `degrade` makes of the tiles x."""
    return batch["lr_image"] if "lr_image" in batch else degrade(x)


def scaled_size(tile: Tensor, scale: float) -> tuple[int, int]:
    """Output size at `scale` = output side / tile side, each side at least 1."""
    return max(1, round(tile.shape[-2] * scale)), max(1, round(tile.shape[-1] * scale))


def truth_at(x: Tensor, size: tuple[int, int]) -> Tensor:
    """What a render at `size` is compared with: x [B, 3, H, W] resized with antialiasing, within [-1, 1]."""
    return resize(x, size).clamp(-1, 1)


def grid(columns: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Columns [b, 3, h_i, w_i] in [-1, 1] side by side, one sample a row, as uint8 [H, W, 3] at the largest size."""
    size = max(c.shape[-2] for c in columns), max(c.shape[-1] for c in columns)
    same = [resize(c.float(), size, "nearest") for c in columns]
    rows = torch.cat(list(torch.cat(same, dim=3)), dim=1)
    out: NDArray[np.uint8] = to_bytes(rows).permute(1, 2, 0).cpu().numpy()
    return out


@contextmanager
def as_shown(*modules: nn.Module) -> Iterator[None]:
    """Eval mode without gradients for the block; modes are as before after it."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in before:
            part.training = training
