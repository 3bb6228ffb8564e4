"""Super-resolution of any picture by any real factor or to any size (System A 1.1).

The diffusion runs at the LR picture's own latent size; the output size is chosen when decoding. Noise is drawn once
for the whole latent from the picture's seed, so neither windows nor the batch change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.samplers import Denoiser, sample
from lsr.inference.render import check_size, features_of, render, render_exact, to_float
from lsr.inference.windows import Window, blend
from lsr.models.system import LatentSystem, pad_to_multiple
from lsr.nn.random import normal
from lsr.nn.resize import resize

AUTOMATIC_WINDOW = 4
"""Latents larger than this many times the trained side are evaluated in windows of that size unless told otherwise."""


def target_size(
    size: Sequence[int], *, scale: float | None = None, target: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Output (height, width) of a picture of `size`: `target`, or each side times `scale`, rounded, at least 1.

    Raises InputError unless exactly one is given, scale is finite and above 0, and the output not absurdly large.
    """
    if (scale is None) == (target is None):
        given = "neither" if scale is None else "both"
        raise InputError(f"Give either a scale or a size, found {given}.")
    if target is None:
        number = isinstance(scale, int | float | np.number) and not isinstance(scale, bool)
        if scale is None or not number or not math.isfinite(scale) or scale <= 0:
            raise InputError(f"scale must be a finite number above 0, found {scale!r}.")
        target = max(1, round(size[0] * float(scale))), max(1, round(size[1] * float(scale)))
    check_size(target)
    return int(target[0]), int(target[1])


def upscale(
    system: LatentSystem,
    image: NDArray[np.uint8],
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    sampler: SamplerConfig = SamplerConfig(),
    window: int | None = None,
) -> NDArray[np.uint8]:
    """image uint8 [H, W, 3], any aspect ratio, 1 x 1 and up -> uint8 [H', W', 3].

    scale: any finite factor above 0, H' = round(H * scale); or size: (H', W'). window: side in latent pixels of the
    parts a large picture is evaluated in; by default AUTOMATIC_WINDOW times the trained side. The system is left in
    eval mode. Raises InputError for anything these rules exclude.
    """
    target = target_size(_checked(image).shape[:2], scale=scale, target=size)
    return upscale_to_sizes(system, image, [target], sampler=sampler, window=window)[0]


def upscale_to_sizes(
    system: LatentSystem,
    image: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]],
    *,
    sampler: SamplerConfig = SamplerConfig(),
    window: int | None = None,
) -> list[NDArray[np.uint8]]:
    """One picture at several sizes [(H', W'), ...] from one latent: `upscale` to each, for one run of the sampler."""
    for size in sizes:
        check_size(size)
    features, extent, lr = _sample(system, _checked(image)[None], [sampler.seed], sampler=sampler, window=window)
    with torch.no_grad():
        rendered = [render(system, features, size, extent, lr) for size in sizes]
    return [pictures.reshape(pictures.shape[1:]) for pictures in rendered]


def upscale_exact(
    system: LatentSystem,
    image: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]],
    *,
    sampler: SamplerConfig = SamplerConfig(),
    window: int | None = None,
) -> list[NDArray[np.float32]]:
    """`upscale_to_sizes` before it rounds: float32 [H', W', 3] in [0, 1], for a protocol that measures so."""
    for size in sizes:
        check_size(size)
    features, extent, lr = _sample(system, _checked(image)[None], [sampler.seed], sampler=sampler, window=window)
    with torch.no_grad():
        return [render_exact(system, features, size, extent, lr)[0] for size in sizes]


def upscale_batch(
    system: LatentSystem,
    images: NDArray[np.uint8],
    seeds: Sequence[int],
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    sampler: SamplerConfig = SamplerConfig(),
    window: int | None = None,
) -> NDArray[np.uint8]:
    """`upscale` for pictures of one size, uint8 [B, H, W, 3], each with its own seed -> uint8 [B, H', W', 3]."""
    for image in images:
        _checked(image)
    if len(seeds) != len(images) or not len(images):
        raise InputError(f"A batch needs pictures and one seed for each, found {len(images)} and {len(seeds)} seeds.")
    target = target_size(images.shape[1:3], scale=scale, target=size)
    features, extent, lr = _sample(system, images, seeds, sampler=sampler, window=window)
    with torch.no_grad():
        return render(system, features, target, extent, lr)


@torch.no_grad()
def _sample(
    system: LatentSystem,
    images: NDArray[np.uint8],
    seeds: Sequence[int],
    *,
    sampler: SamplerConfig,
    window: int | None,
) -> tuple[Tensor, tuple[float, float], Tensor]:
    """Condition, diffusion and D_phi: the features [B, C, h, w] to render, the extent of them that is picture, and the
    LR picture as [B, 3, H, W] in [-1, 1].
    """
    height, width = images.shape[1:3]
    base = height * system.config.base_scale, width * system.config.base_scale
    side = AUTOMATIC_WINDOW * system.config.latent_side if window is None else window
    parts = Window.of(side, system.config.unet.factor)
    system.eval()
    lr = to_float(images, system.latent_mean.device)
    cond = condition(system, lr, base, parts)
    noise = normal([derive_seed(seed, "upscale", "noise") for seed in seeds], cond.shape[1:], cond.device)
    draws = [derive_seed(seed, "upscale", "sampler") for seed in seeds]
    z = sample(sampler, windowed(system, cond, parts), system.schedule, noise, draws)
    return features_of(system, z, parts), system.extent(base), lr


def condition(system: LatentSystem, lr: Tensor, base: tuple[int, int], window: Window) -> Tensor:
    """`LatentSystem.condition`, encoding in windows what is larger than one: [B, 3, h, w] -> [B, c, latent size]."""
    if not system.config.conditional:
        raise InputError("This model generates pictures and takes no LR condition; use a super-resolution model.")
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


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        found = f"{image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"A picture must be a numpy array of uint8, found {found}; see lsr.inference.images.")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"A picture must be [height, width, 3] with sides of at least 1, found {image.shape}.")
    return image
