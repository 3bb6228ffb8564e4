"""Images from noise, decoded at any size (System A 1.1)."""

from __future__ import annotations

import math

import torch

from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.samplers import sample
from lsr.inference.render import Sampled, features_of, render
from lsr.inference.request import Image, Size
from lsr.inference.windows import Window
from lsr.models.system import LatentSystem
from lsr.nn.random import normal

STRETCH = 4.0
"""The most that a latent's aspect ratio follows the image's; beyond it the decoder stretches."""


def latent_shape(system: LatentSystem, size: Size) -> Size:
    """Latent sides for an image of `size`: of its aspect ratio (up to STRETCH) and the area the U-Net was trained on,
    multiples of the U-Net's factor.
    """
    side, multiple = system.config.latent_side, system.config.unet.factor
    ratio = math.sqrt(min(max(size[0] / size[1], 1 / STRETCH), STRETCH))
    height, width = (max(1, round(length / multiple)) * multiple for length in (side * ratio, side / ratio))
    return height, width


@torch.no_grad()
def generated(system: LatentSystem, size: Size, numbers: range, sampler: SamplerConfig) -> Image:
    """The images of these numbers, in one batch: uint8 [B, *size, 3].

    Image i depends on sampler.seed and i alone; the latent it is decoded from depends on the aspect ratio of `size`,
    not on its scale. Raises InputError for a super-resolution model and for a sampler that its schedule does not allow.
    """
    shape = latent_shape(system, size)
    seeds = [derive_seed(sampler.seed, "generate", number) for number in numbers]
    channels = system.config.autoencoder.latent_channels
    noise = normal([derive_seed(seed, "noise") for seed in seeds], (channels, *shape), system.latent_mean.device)
    z = sample(sampler, system.denoiser(None), system.schedule, noise, seeds)
    whole = Window.of(max(shape), system.config.unet.factor)
    return render(system, Sampled(features_of(system, z, whole)), size)
