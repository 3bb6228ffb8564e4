"""Pictures from noise, decoded at any size (System A 1.1)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.samplers import sample
from lsr.inference.render import check_size, features_of, render
from lsr.inference.windows import Window
from lsr.models.system import LatentSystem
from lsr.nn.random import normal

STRETCH = 4.0
"""The most that a latent's aspect ratio follows the picture's; beyond it the decoder stretches."""


def latent_shape(system: LatentSystem, size: tuple[int, int]) -> tuple[int, int]:
    """Latent sides for a picture of `size`: of its aspect ratio (up to STRETCH) and the area the U-Net was trained on,
    multiples of the U-Net's factor.
    """
    side, multiple = system.config.latent_side, system.config.unet.factor
    ratio = math.sqrt(min(max(size[0] / size[1], 1 / STRETCH), STRETCH))
    height, width = (max(1, round(length / multiple)) * multiple for length in (side * ratio, side / ratio))
    return height, width


def generate(
    system: LatentSystem,
    size: tuple[int, int],
    count: int = 1,
    *,
    sampler: SamplerConfig = SamplerConfig(),
    batch: int = 8,
) -> NDArray[np.uint8]:
    """`count` pictures of `size` (H, W), uint8 [count, H, W, 3].

    Picture i depends on sampler.seed and i alone, not on count or batch; the latent it is decoded from depends on the
    aspect ratio of `size`, not on its scale. The system is left in eval mode. Raises InputError for a super-resolution
    model and for anything these rules exclude.
    """
    check_size(size)
    if count < 1 or batch < 1:
        raise InputError(f"count and batch must be at least 1, found {count} and {batch}.")
    shape = latent_shape(system, size)
    whole = Window.of(max(shape), system.config.unet.factor)
    out = np.empty((count, *size, 3), dtype=np.uint8)
    system.eval()
    with torch.no_grad():
        denoise = system.denoiser(None)
        for first in range(0, count, batch):
            numbers = range(first, min(first + batch, count))
            seeds = [derive_seed(sampler.seed, "generate", number) for number in numbers]
            channels = system.config.autoencoder.latent_channels
            noise = normal([derive_seed(s, "noise") for s in seeds], (channels, *shape), system.latent_mean.device)
            z = sample(sampler, denoise, system.schedule, noise, seeds)
            out[first : first + len(seeds)] = render(system, features_of(system, z, whole), size)
    return out
