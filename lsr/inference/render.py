"""From latents to bytes, a band of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.errors import InputError
from lsr.inference.windows import Window, blend
from lsr.models.system import LatentSystem
from lsr.nn.units import from_levels, to_levels

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
    return from_levels(torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2))


def features_of(system: LatentSystem, z: Tensor, window: Window) -> Tensor:
    """D_phi of a whitened latent [B, c, h, w], in windows where it is larger than one -> [B, C, h, w]."""
    latent = system.unwhiten(z)
    height, width = latent.shape[-2:]
    return blend(lambda rows, columns: system.decoder.features(latent[..., rows, columns]), (height, width), window)


def _bands(
    system: LatentSystem,
    features: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float] | None,
    lr: Tensor | None,
) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their pixels, [B, rows, W', 3] in [0, 255], about PIXELS_AT_ONCE at a time."""
    band = max(1, PIXELS_AT_ONCE // (len(features) * size[1]))
    for start in range(0, size[0], band):
        stop = min(start + band, size[0])
        image = system.render(features, size, rows=(start, stop), extent=extent, lr=lr)
        yield slice(start, stop), to_levels(image).permute(0, 2, 3, 1)


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
    out = np.empty((len(features), *size, 3), dtype=np.uint8)
    for rows, pixels in _bands(system, features, size, extent, lr):
        out[:, rows] = pixels.round().to(torch.uint8).cpu().numpy()
    return out


def render_exact(
    system: LatentSystem,
    features: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float] | None = None,
    lr: Tensor | None = None,
) -> NDArray[np.float32]:
    """`render` before it rounds: float32 [B, *size, 3] in [0, 1]."""
    out = np.empty((len(features), *size, 3), dtype=np.float32)
    for rows, pixels in _bands(system, features, size, extent, lr):
        out[:, rows] = (pixels.float() / 255).clamp(0, 1).cpu().numpy()
    return out
