"""From latents to bytes, a band of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.inference.request import Image, Size
from lsr.inference.windows import Window, blend
from lsr.models.system import LatentSystem
from lsr.nn.pad import pad_to_size
from lsr.nn.units import from_levels, to_levels

PIXELS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Sampled:
    """A batch of images that can be rendered at any size.

    features: [B, C, h, w] of D_phi. extent: the rows and columns of them that are image; None for all. lr: the LR
    images [B, 3, h', w'] in [-1, 1], which a residual system needs.
    """

    features: Tensor
    extent: tuple[float, float] | None = None
    lr: Tensor | None = None


def to_float(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return from_levels(torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2))


def features_of(system: LatentSystem, z: Tensor, window: Window, lr: Tensor | None = None) -> Tensor:
    """D_phi of a whitened latent [B, c, h, w], in windows where it is larger than one -> [B, C, h, w].

    lr: the LR images [B, 3, h', w'], for a decoder with a body.
    """
    latent = system.unwhiten(z)
    height, width = latent.shape[-2:]
    seen = None if lr is None or system.decoder.body is None else pad_to_size(lr, (height, width))

    def part(rows: slice, columns: slice) -> Tensor:
        pixels = None if seen is None else seen[..., rows, columns]
        return system.decoder.features(latent[..., rows, columns], pixels)

    return blend(part, (height, width), window)


def _bands(system: LatentSystem, sampled: Sampled, size: Size) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their pixels, [B, rows, W', 3] in [0, 255], about PIXELS_AT_ONCE at a time."""
    features = sampled.features
    band = max(1, PIXELS_AT_ONCE // (len(features) * size[1]))
    for start in range(0, size[0], band):
        rows = (start, min(start + band, size[0]))
        image = system.render(features, size, rows=rows, extent=sampled.extent, lr=sampled.lr)
        # Half precision has fewer steps near 1 than 8 bits have levels: the renderer's output is spread in float32.
        yield slice(*rows), to_levels(image.float()).permute(0, 2, 3, 1)


@torch.no_grad()
def render(system: LatentSystem, sampled: Sampled, size: Size) -> Image:
    """uint8 [B, *size, 3]. Besides the result, memory is bounded: f_theta runs on bands of about PIXELS_AT_ONCE."""
    out = np.empty((len(sampled.features), *size, 3), dtype=np.uint8)
    for rows, pixels in _bands(system, sampled, size):
        out[:, rows] = pixels.round().to(torch.uint8).cpu().numpy()
    return out


@torch.no_grad()
def render_exact(system: LatentSystem, sampled: Sampled, size: Size) -> NDArray[np.float32]:
    """`render` before it rounds: float32 [B, *size, 3] in [0, 1]."""
    out = np.empty((len(sampled.features), *size, 3), dtype=np.float32)
    for rows, pixels in _bands(system, sampled, size):
        out[:, rows] = (pixels / 255).clamp(0, 1).cpu().numpy()
    return out
