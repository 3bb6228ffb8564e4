"""Super-resolution by a latent system (System A 1.1): from LR images of any size to what can be rendered at any size.

The diffusion runs at the LR image's own latent size; the output size is chosen when decoding (`render`). Noise is drawn
once for the whole latent from the sampler's seed, so neither windows nor the batch change it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.samplers import Denoiser, sample
from lsr.diffusion.shift import sample_shifted
from lsr.inference.render import Sampled, features_of, to_float
from lsr.inference.windows import Window, blend
from lsr.models.system import LatentSystem
from lsr.nn.pad import pad_to_multiple
from lsr.nn.random import normal
from lsr.nn.resize import resize

AUTOMATIC_WINDOW = 4.0
"""Latents larger than this many times the trained side are evaluated in windows of that size."""


@torch.no_grad()
def sampled(system: LatentSystem, images: NDArray[np.uint8], sampler: SamplerConfig) -> Sampled:
    """Condition, diffusion and D_phi of images uint8 [B, H, W, 3].

    Each is drawn as if it were alone, from the sampler's seed. Raises InputError for a sampler that the system's
    schedule does not allow; the system takes LR images.
    """
    height, width = images.shape[1:3]
    base = height * system.config.base_scale, width * system.config.base_scale
    window = Window.of(int(AUTOMATIC_WINDOW * system.config.latent_side), system.config.unet.factor)
    lr = to_float(images, system.latent_mean.device)
    cond = condition(system, lr, base, window)
    z = cond
    if sampler.fidelity < 1:
        # The decoder renders the condition's own latent faithfully, the sampled one with the detail that was drawn.
        z = sampler.fidelity * cond + (1 - sampler.fidelity) * drawn(system, cond, sampler, window)
    return Sampled(features_of(system, z, window, lr), system.extent(base), lr)


def drawn(system: LatentSystem, cond: Tensor, sampler: SamplerConfig, window: Window) -> Tensor:
    """The sampled latent under the condition, both whitened [B, c, h, w]; every sample has the sampler's noise."""
    noise = normal([derive_seed(sampler.seed, "upscale", "noise")] * len(cond), cond.shape[1:], cond.device)
    draws = [derive_seed(sampler.seed, "upscale", "sampler")] * len(cond)
    denoise = windowed(system, cond, window)
    if system.config.diffusion.shift:
        return sample_shifted(denoise, system.schedule, noise, cond, sampler.steps)
    return sample(sampler, denoise, system.schedule, noise, draws)


def condition(system: LatentSystem, lr: Tensor, base: tuple[int, int], window: Window) -> Tensor:
    """`LatentSystem.condition`, encoding in windows what is larger than one: [B, 3, h, w] -> [B, c, latent size]."""
    f = system.config.autoencoder.factor
    restored = resize(lr, base, system.config.condition_upsample)
    padded = pad_to_multiple(restored, f * system.config.unet.factor)

    def encode(rows: slice, columns: slice) -> Tensor:
        crop = padded[..., rows.start * f : rows.stop * f, columns.start * f : columns.stop * f]
        return system.whiten(system.encoder(crop).mode())

    return blend(encode, system.latent_size(base), window)


def windowed(system: LatentSystem, cond: Tensor | None, window: Window) -> Denoiser:
    """`LatentSystem.denoiser`, evaluated in windows where x_t is larger than one; each sees its part of `cond`."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        def part(rows: slice, columns: slice) -> Tensor:
            seen = None if cond is None else cond[..., rows, columns]
            return system.denoiser(seen)(x_t[..., rows, columns], t)

        height, width = x_t.shape[-2:]
        return blend(part, (height, width), window)

    return denoise
