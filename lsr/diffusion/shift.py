"""Residual shifting (ResShift, Yue et al. 2023, Eq 1), variance preserving.

x_t = sqrt(abar_t) (x_0 + share_t (c - x_0)) + sqrt(1 - abar_t) noise, where share_t = (1 - abar_t) / (1 - abar_T) rises
to 1: the last noise level is the noised condition c, where sampling starts, so that one call of the network may be
enough.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from lsr.diffusion.prediction import to_eps
from lsr.diffusion.samplers import Denoiser, steps_for
from lsr.diffusion.schedule import Schedule


def share_of_condition(schedule: Schedule, t: Tensor) -> Tensor:
    """share_t, float64 [B], of timesteps int64 [B]: (1 - abar_t) / (1 - abar_T), 1 at the last."""
    last = torch.full_like(t, schedule.steps - 1)
    return (1 - schedule.abar(t)) / (1 - schedule.abar(last))


def shifted_mean(schedule: Schedule, x0: Tensor, cond: Tensor, t: Tensor) -> Tensor:
    """x0 + share_t (c - x0): what the shifted process adds its noise to; x0 and cond [B, ...], t int64 [B]."""
    share = share_of_condition(schedule, t).reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return x0 + share * (cond - x0)


def add_noise_shifted(schedule: Schedule, x0: Tensor, cond: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of the shifted forward process; x0, cond and noise [B, ...], t int64 [B]."""
    return schedule.add_noise(shifted_mean(schedule, x0, cond, t), noise, t)


def sample_shifted(denoise: Denoiser, schedule: Schedule, noise: Tensor, cond: Tensor, steps: int) -> Tensor:
    """From the noised condition [B, ...] to x0 in `steps` calls of `denoise`; the last call's x0 is the result.

    Between calls the noise that x_t holds under the estimate of x0 is kept, as DDIM keeps it; deterministic. Raises
    InputError for steps outside 1..T.
    """
    times = [torch.full((len(noise),), t, device=noise.device) for t in steps_for(schedule.steps, steps)]
    x = schedule.add_noise(cond, noise, times[0])
    for t, after in pairwise(times):
        x0 = denoise(x, t)
        held = to_eps("x0", shifted_mean(schedule, x0, cond, t), x, schedule.abar(t))
        x = add_noise_shifted(schedule, x0, cond, held, after)
    return denoise(x, times[-1])
