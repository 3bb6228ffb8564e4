"""Counter-based draws: every sample owns a seed, so a draw depends neither on the batch size nor on the device.

Seeds come from `lsr.core.randomness.derive_seed`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor


def normal(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise [len(seeds), *shape], float32.

    Sample i is a pure function of seeds[i] and shape: one CPU generator a sample, then one copy to `device`.
    """
    out = torch.empty((len(seeds), *shape))
    for row, seed in zip(out, seeds, strict=True):
        row.copy_(torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)))
    return out.to(device)


def uniform(seed: int) -> float:
    """One draw from [0, 1), a pure function of `seed`; for timesteps and output scales."""
    return random.Random(seed).random()
