"""Degradations: how a low-resolution picture is made from a tile, and brought back to the tile's size.

May import torch, lsr.nn, lsr.core and data_prep.config.
"""

from __future__ import annotations

from torch import Tensor

from data_prep.config import DegradationConfig as DegradationConfig
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import described
from lsr.core.errors import InputError
from lsr.nn.resize import resize


def degrade(config: DegradationConfig, x: Tensor) -> Tensor:
    """The LR picture [B, 3, H/f, W/f] of x [B, 3, H, W], both in [-1, 1], antialiased.

    Clamped, because a picture cannot hold the overshoot of the bicubic kernel. Raises InputError when a side is not
    a multiple of the factor f.
    """
    height, width = x.shape[-2:]
    if height % config.factor or width % config.factor:
        raise InputError(
            f"A degradation by {config.factor} needs sides that are multiples of it, found {height} x {width}; "
            "choose tile.size accordingly."
        )
    return resize(x, (height // config.factor, width // config.factor), config.kind).clamp(-1, 1)


def restore_size(config: DegradationConfig, lr: Tensor, size: tuple[int, int]) -> Tensor:
    """lr [B, 3, h, w] brought to [B, 3, *size] by `config.upsample`, as the encoder's input for the LR condition.

    Must equal what the model does to an LR picture at inference (method 1.5, gotcha 8): nothing is clamped here.
    """
    return resize(lr, size, config.upsample)


def degradation_digest(config: DegradationConfig) -> str:
    """12 hex digits that name cached LR latents of this degradation: the member `lr-<digest>.npy`."""
    return sha256_hex(canonical_json({"degradation": described(config)}))[:12]
