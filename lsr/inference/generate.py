"""Generation from noise: one latent, decoded at any size (System A 4.4). May import torch, lsr.models, lsr.diffusion
and this room.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.samplers import ddim
from lsr.inference.images import Picture
from lsr.inference.upscale import OVERLAP, WINDOW, Size, decode_picture
from lsr.inference.windows import windowed_denoiser
from lsr.models.system import LatentSystem
from lsr.nn.random import normal


def latent_shape(system: LatentSystem, size: Size) -> Size:
    """Latent sides for pictures of `size`: the shorter one is what the U-Net was trained on, the aspect ratio is kept,
    and both are multiples of the U-Net's factor.
    """
    u, short = system.config.unet.factor, system.config.latent_side
    ratio = max(size) / min(size)
    long = max(short, round(short * ratio / u) * u)
    return (long, short) if size[0] > size[1] else (short, long)


@torch.no_grad()
def generate_at_sizes(
    system: LatentSystem, sizes: Sequence[Size], *, count: int, steps: int, eta: float = 0.0, seed: int = 0
) -> list[list[Picture]]:
    """`count` samples, each decoded from its one latent at every size (of one aspect ratio, that of the first).

    Sample i is a function of (seed, i, steps, eta). Raises InputError for a super-resolution model, an empty size or
    count.
    """
    if system.config.conditional:
        raise InputError("This model upscales and cannot generate from noise; use a generation model.")
    if count < 1 or not sizes or min(min(size) for size in sizes) < 1:
        raise InputError(f"Generation needs a count and sizes of at least 1, found {count} and {list(sizes)}.")
    height, width = latent_shape(system, sizes[0])
    device = system.latent_mean.device
    channels = system.config.autoencoder.latent_channels
    denoise = windowed_denoiser(system.denoiser, None, window=WINDOW, overlap=OVERLAP)
    out = []
    for index in range(count):
        seeds = [derive_seed(seed, "generate", index)]
        noise = normal(seeds, (channels, height, width), device)
        z = ddim(denoise, system.schedule, noise, steps, eta=eta, seeds=seeds)
        out.append([decode_picture(system, z, size, (float(height), float(width))) for size in sizes])
    return out


def generate(
    system: LatentSystem, size: Size, count: int, *, steps: int = 50, eta: float = 0.0, seed: int = 0
) -> list[Picture]:
    """`count` pictures uint8 [*size, 3]; see `generate_at_sizes`."""
    return [pictures[0] for pictures in generate_at_sizes(system, [size], count=count, steps=steps, eta=eta, seed=seed)]
