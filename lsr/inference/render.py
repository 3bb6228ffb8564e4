"""From latents to bytes, a band of rows at a time. May import torch, numpy, lsr.core, lsr.models and its own room."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.errors import InputError
from lsr.inference.windows import Window, blend
from lsr.models.system import LatentSystem

PIXELS_AT_ONCE = 1 << 18
MAX_PIXELS = 1 << 30


def check_size(size: tuple[int, int]) -> None:
    """Raises InputError unless `size` is (height, width), whole numbers of at least 1, MAX_PIXELS together."""
    if len(size) != 2 or any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in size):
        raise InputError(f"A size must be (height, width) in whole pixels, both at least 1, found {size!r}.")
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"An output may have at most {MAX_PIXELS} pixels, found {size[0]} x {size[1]}; ask for less.")


def to_float(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def features_of(system: LatentSystem, z: Tensor, window: Window) -> Tensor:
    """D_phi of a whitened latent [B, c, h, w], in windows where it is larger than one -> [B, C, h, w]."""
    latent = system.unwhiten(z)
    height, width = latent.shape[-2:]
    return blend(lambda rows, columns: system.decoder.features(latent[..., rows, columns]), (height, width), window)


def render(
    system: LatentSystem,
    features: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float] | None = None,
    lr: Tensor | None = None,
) -> NDArray[np.uint8]:
    """features [B, C, h, w] -> uint8 [B, *size, 3]; extent: the rows and columns of features that are picture.
    lr: the LR picture [B, 3, h', w'], which a residual system needs.

    Besides the result, memory is bounded: f_theta runs on bands of about PIXELS_AT_ONCE pixels.
    """
    count = len(features)
    out = np.empty((count, *size, 3), dtype=np.uint8)
    band = max(1, PIXELS_AT_ONCE // (count * size[1]))
    for start in range(0, size[0], band):
        stop = min(start + band, size[0])
        image = system.render(features, size, rows=(start, stop), extent=extent, lr=lr)
        pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        out[:, start:stop] = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return out
