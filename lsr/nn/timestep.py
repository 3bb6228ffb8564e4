"""The sinusoidal embedding of diffusion timesteps."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal(t: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Embed timesteps t [B] as [B, channels] float32: cosines, then sines, of t at geometric frequencies.

    Frequencies run from 1 down to 1 / max_period (exclusive). channels must be even.
    """
    half = channels // 2
    frequencies = torch.exp(-math.log(max_period) / half * torch.arange(half, dtype=torch.float32, device=t.device))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
