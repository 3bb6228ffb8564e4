"""Degradations: how a low-resolution image is made from a tile, and brought back to the tile's size."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.data.config import DegradationConfig as DegradationConfig
from lsr.nn.random import normal, uniform
from lsr.nn.resize import resize
from lsr.nn.units import HALF_RANGE, from_levels, to_bytes


def degrade(config: DegradationConfig, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """The LR image [B, 3, H/f, W/f] of x [B, 3, H, W], both in [-1, 1], antialiased.

    Clamped, because an image cannot hold the overshoot of the bicubic kernel. seeds: one a sample for a sampled
    degradation, which is blur, reduction, noise and JPEG in this order, a pure function of sample and seed. Raises
    InputError when a side is not a multiple of the factor f, or a sampled degradation lacks seeds.
    """
    height, width = x.shape[-2:]
    if height % config.factor or width % config.factor:
        raise InputError(
            f"A degradation by {config.factor} needs sides that are multiples of it, found {height} x {width}; "
            "choose tile.size accordingly."
        )
    draws: Sequence[int] = seeds or ()
    if config.sampled and len(draws) != len(x):
        raise InputError(
            f"A degradation with blur, noise or JPEG is drawn for each sample and needs {len(x)} seeds, "
            f"found {len(draws)}."
        )
    if config.blur[1] > 0:
        x = blurred(x, [_between(*config.blur, derive_seed(seed, "blur")) for seed in draws])
    lr = resize(x, (height // config.factor, width // config.factor), config.kind)
    if config.noise[1] > 0:
        levels = [_between(*config.noise, derive_seed(seed, "level")) for seed in draws]
        lr = noisy(lr, levels, [derive_seed(seed, "noise") for seed in draws])
    lr = lr.clamp(-1, 1)
    if config.jpeg is not None:
        low, high = config.jpeg
        lr = compressed(lr, [int(_between(low, high + 1, derive_seed(seed, "jpeg"))) for seed in draws])
    return lr


def blurred(x: Tensor, deviations: Sequence[float]) -> Tensor:
    """Each sample of x [B, 3, H, W] under a Gaussian of its deviation in pixels, cut at 4; edges are repeated."""
    out = []
    for image, deviation in zip(x, deviations, strict=True):
        radius = int(4 * deviation + 0.5)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernel = torch.exp(-0.5 * (offsets / max(deviation, 1e-12)).square())
        kernel = (kernel / kernel.sum()).to(image)
        wide = F.pad(image[:, None], (radius, radius, radius, radius), mode="replicate")
        out.append(F.conv2d(F.conv2d(wide, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0])
    return torch.stack(out)


def noisy(x: Tensor, deviations: Sequence[float], seeds: Sequence[int]) -> Tensor:
    """x [B, 3, h, w] in [-1, 1] with white noise of each sample's deviation in 8-bit grey levels; not clamped."""
    share = x.new_tensor([deviation / HALF_RANGE for deviation in deviations]).reshape(-1, 1, 1, 1)
    return x + share * normal(seeds, x.shape[1:], x.device).to(x.dtype)


def compressed(x: Tensor, qualities: Sequence[int]) -> Tensor:
    """x [B, 3, h, w] in [-1, 1], rounded to 8 bits, through JPEG of each sample's quality (1..100, 4:2:0)."""
    pixels = to_bytes(x).permute(0, 2, 3, 1).cpu().numpy()
    out = []
    for image, quality in zip(pixels, qualities, strict=True):
        stored = io.BytesIO()
        Image.fromarray(image).save(stored, "JPEG", quality=quality, subsampling="4:2:0")
        with Image.open(stored) as read:
            out.append(np.asarray(read.convert("RGB")))
    return from_levels(torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)).to(x).contiguous()


def _between(low: float, high: float, seed: int) -> float:
    return low + (high - low) * uniform(seed)


def restore_size(config: DegradationConfig, lr: Tensor, size: tuple[int, int]) -> Tensor:
    """lr [B, 3, h, w] brought to [B, 3, *size] by `config.upsample`, as the encoder's input for the LR condition.

    Must equal what the model does to an LR image at inference (method 1.5, gotcha 8): nothing is clamped here.
    """
    return resize(lr, size, config.upsample)


def degradation_digest(config: DegradationConfig) -> str:
    """12 hex digits that name cached LR latents of this degradation: the member `lr-<digest>.npy`."""
    return sha256_hex(canonical_json({"degradation": as_plain(config)}))[:12]
