"""Super-resolution of one picture by any real factor or to any size (System A 4.3, 4.4). May import torch, lsr.models,
lsr.diffusion and this room.

The diffusion runs once, at base_scale times the picture's size; only decoding depends on the output size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.samplers import ddim
from lsr.inference.images import Picture, check_picture, to_picture, to_tensor
from lsr.inference.windows import blend, windowed_denoiser
from lsr.models.system import LatentSystem
from lsr.nn.random import normal

WINDOW = 64
OVERLAP = 16
BAND_PIXELS = 1 << 20
MAX_OUTPUT_PIXELS = 1 << 30

Size = tuple[int, int]


def check_request(*, scale: float | None, size: Size | None) -> None:
    """Raise InputError unless exactly one of a finite scale above 0 and a size of at least 1x1 is given."""
    if (scale is None) == (size is None):
        raise InputError("Give either a scale or a target size, and not both.")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise InputError(f"The scale must be a finite number above 0, found {scale}.")
    if size is not None and min(size) < 1:
        raise InputError(f"The target size must be at least 1x1, found {size[1]}x{size[0]}.")


def output_size(image: Picture, *, scale: float | None, size: Size | None) -> Size:
    """(height, width) of the result: round(side * scale), at least 1, or the target size."""
    check_request(scale=scale, size=size)
    if size is not None:
        target = size
    else:
        assert scale is not None
        height, width = image.shape[:2]
        target = (max(1, round(height * scale)), max(1, round(width * scale)))
    if target[0] * target[1] > MAX_OUTPUT_PIXELS:
        raise InputError(f"{target[1]}x{target[0]} pixels are more than the limit of {MAX_OUTPUT_PIXELS}.")
    return target


@torch.no_grad()
def sample_latent(
    system: LatentSystem, lr: Tensor, *, steps: int, eta: float, seed: int, window: int = WINDOW, overlap: int = OVERLAP
) -> Tensor:
    """LR [1, 3, h, w] in [-1, 1] -> whitened HR latent [1, c, H, W], a function of (picture, steps, eta, seed)."""
    cond = _condition(system, lr, window=window, overlap=overlap)
    seeds = [derive_seed(seed, "infer", "noise")]
    noise = normal(seeds, cond.shape[1:], cond.device)
    denoise = windowed_denoiser(system.denoiser, cond, window=window, overlap=overlap)
    return ddim(denoise, system.schedule, noise, steps, eta=eta, seeds=seeds)


def _condition(system: LatentSystem, lr: Tensor, *, window: int, overlap: int) -> Tensor:
    """The LR latent, encoded in one piece while that is small, else in windows of LR pixels with a margin."""
    scale, f = system.config.base_scale, system.config.autoencoder.factor
    if max(lr.shape[-2:]) * scale <= window * f * 4:
        return system.condition(lr)
    return _condition_in_windows(system, lr, side=max(1, window * f // scale), margin=max(1, overlap * f // scale))


def _condition_in_windows(system: LatentSystem, lr: Tensor, *, side: int, margin: int) -> Tensor:
    scale, f = system.config.base_scale, system.config.autoencoder.factor
    per_pixel = scale / f
    height, width = lr.shape[-2:]
    whole = system.latent_size((height * scale, width * scale))
    out = lr.new_zeros((1, system.config.autoencoder.latent_channels, *whole))
    # Window borders must fall on latent pixels: f LR pixels are always a whole number of them.
    side, margin = -(-side // f) * f, -(-margin // f) * f
    for top in range(0, height, side):
        for left in range(0, width, side):
            y0, x0 = max(0, top - margin), max(0, left - margin)
            y1, x1 = min(height, top + side + margin), min(width, left + side + margin)
            part = system.condition(lr[..., y0:y1, x0:x1])
            to_y, to_x = round(top * per_pixel), round(left * per_pixel)
            end_y = whole[0] if top + side >= height else round((top + side) * per_pixel)
            end_x = whole[1] if left + side >= width else round((left + side) * per_pixel)
            from_y, from_x = to_y - round(y0 * per_pixel), to_x - round(x0 * per_pixel)
            piece = part[..., from_y : from_y + end_y - to_y, from_x : from_x + end_x - to_x]
            out[..., to_y : to_y + piece.shape[-2], to_x : to_x + piece.shape[-1]] = piece
    return out


@torch.no_grad()
def decode_picture(
    system: LatentSystem,
    z: Tensor,
    size: Size,
    extent: tuple[float, float],
    *,
    window: int = WINDOW,
    overlap: int = OVERLAP,
) -> Picture:
    """Whitened latent [1, c, h, w] -> uint8 [*size, 3], in bands of rows: memory beyond the result is bounded."""
    latent = system.unwhiten(z)
    features = blend(
        lambda place: system.decoder.features(latent[(..., *place)]),
        latent.shape[-2],
        latent.shape[-1],
        window=window,
        overlap=overlap,
    )
    out = np.empty((*size, 3), dtype=np.uint8)
    band = max(1, BAND_PIXELS // size[1])
    for start in range(0, size[0], band):
        stop = min(start + band, size[0])
        out[start:stop] = to_picture(system.decoder.render(features, size, rows=(start, stop), extent=extent))
    return out


def upscale_to_sizes(
    system: LatentSystem, image: Picture, sizes: Sequence[Size], *, steps: int, eta: float = 0.0, seed: int = 0
) -> list[Picture]:
    """The picture at several output sizes, all decoded from one latent."""
    check_picture(image)
    device = system.latent_mean.device
    z = sample_latent(system, to_tensor(image).to(device), steps=steps, eta=eta, seed=seed)
    scale = system.config.base_scale
    extent = system.extent((image.shape[0] * scale, image.shape[1] * scale))
    return [decode_picture(system, z, size, extent) for size in sizes]


def upscale(
    system: LatentSystem,
    image: Picture,
    *,
    scale: float | None = None,
    size: Size | None = None,
    steps: int = 10,
    eta: float = 0.0,
    seed: int = 0,
) -> Picture:
    """uint8 [H, W, 3] of any size -> uint8 [round(H * scale), round(W * scale), 3], or of `size` (height, width).

    steps, eta, seed: the sampler's request; the result is a function of them and the picture. Raises InputError for
    another shape or type, a scale that is not a finite number above 0, or both or neither of scale and size.
    """
    check_picture(image)
    target = output_size(image, scale=scale, size=size)
    return upscale_to_sizes(system, image, [target], steps=steps, eta=eta, seed=seed)[0]
