"""Samplers: plain functions over a denoiser, a schedule and a start.

A denoiser maps (x_t [B, ...], t int64 [B]) to its estimate of x0. Noise added on the way is drawn one sample at a time
from (that sample's seed, step number), so results do not depend on the batch they were drawn in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.schedule import Schedule
from lsr.nn.random import normal

Denoiser = Callable[[Tensor, Tensor], Tensor]


def steps_for(total: int, count: int) -> list[int]:
    """`count` of the timesteps 0..total-1, evenly spaced, noisiest first; total-1 is always among them.

    Raises InputError unless 1 <= count <= total.
    """
    if not 1 <= count <= total:
        raise InputError(f"Sampling steps must lie between 1 and the schedule's {total}, found {count}.")
    return [round(total * (count - i) / count) - 1 for i in range(count)]


def ddim(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Tensor,
    steps: int,
    eta: float = 0.0,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """DDIM from pure noise [B, ...] to x0 in `steps` calls of `denoise`; the last call's x0 is the result.

    eta: 0 is deterministic, 1 is the ancestral process on these steps; then `seeds`, one per sample, is required.
    Raises InputError for steps outside 1..T, eta outside [0, 1] or missing seeds.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta must lie in [0, 1], found {eta}.")
    if eta > 0 and (seeds is None or len(seeds) != len(noise)):
        raise InputError(f"eta above 0 draws noise and needs one seed per sample: {len(noise)} samples, seeds {seeds}.")
    timesteps = steps_for(schedule.steps, steps)
    levels = [float(schedule.alphas_cumprod[t]) for t in timesteps]
    x, x0 = noise, noise
    for i, (t, abar) in enumerate(zip(timesteps, levels, strict=True)):
        x0 = denoise(x, torch.full((len(x),), t, device=x.device))
        if i + 1 == len(timesteps):
            break
        after = levels[i + 1]
        eps = (x - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
        sigma = eta * math.sqrt((1 - after) / (1 - abar) * (1 - abar / after))
        x = math.sqrt(after) * x0 + math.sqrt(1 - after - sigma**2) * eps
        if seeds is not None and sigma > 0:
            draws = [derive_seed(seed, "sampler", i) for seed in seeds]
            x = x + sigma * normal(draws, x.shape[1:], x.device).to(x.dtype)
    return x0


def dpm_solver(denoise: Denoiser, schedule: Schedule, noise: Tensor, steps: int) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2) from pure noise [B, ...] to x0 in `steps` calls of `denoise`.

    The probability flow in lambda = log(alpha / sigma), second order by the estimate of the step before; the first
    step has none and is DDIM's, and the last call's x0 is the result. Deterministic. Raises InputError for steps
    outside 1..T.
    """
    timesteps = steps_for(schedule.steps, steps)
    levels = [float(schedule.alphas_cumprod[t]) for t in timesteps]
    alphas, sigmas = [math.sqrt(abar) for abar in levels], [math.sqrt(1 - abar) for abar in levels]
    # A terminal timestep without signal lies at minus infinity; the step from there is DDIM's.
    lambdas = [math.log(a / s) if a > 0 else -math.inf for a, s in zip(alphas, sigmas, strict=True)]
    x, before = noise, noise
    for i, t in enumerate(timesteps):
        x0 = denoise(x, torch.full((len(x),), t, device=x.device))
        if i + 1 == len(timesteps):
            return x0
        h = lambdas[i + 1] - lambdas[i]
        slope = h / (2 * (lambdas[i] - lambdas[i - 1])) if i else 0.0
        estimate = (1 + slope) * x0 - slope * before
        x = sigmas[i + 1] / sigmas[i] * x - alphas[i + 1] * math.expm1(-h) * estimate
        before = x0
    raise AssertionError("steps_for gives at least one step")


def euler(denoise: Denoiser, schedule: Schedule, noise: Tensor, steps: int) -> Tensor:
    """Euler's method on the probability flow from pure noise [B, ...] to x0 in `steps` calls; see `_flow`."""
    return _flow(denoise, schedule, noise, steps, corrected=False)


def heun(denoise: Denoiser, schedule: Schedule, noise: Tensor, steps: int) -> Tensor:
    """Heun's method (Karras et al. 2022, Algorithm 1 without noise) on the probability flow, in 2 `steps` - 1 calls."""
    return _flow(denoise, schedule, noise, steps, corrected=True)


def _flow(denoise: Denoiser, schedule: Schedule, noise: Tensor, steps: int, *, corrected: bool) -> Tensor:
    """The flow in the angle theta with cos(theta) = sqrt(abar): dx / dtheta = v = (sqrt(abar) x - x0) / sqrt(1 - abar).

    In that variable it is finite from a timestep without signal to one almost without noise, whatever the network
    predicts. The estimate of x0 at the last timestep is the result. corrected: average the velocities at both ends of a
    step, second order. Deterministic. Raises InputError for steps outside 1..T.
    """
    timesteps = steps_for(schedule.steps, steps)
    levels = [float(schedule.alphas_cumprod[t]) for t in timesteps]
    angles = [math.acos(math.sqrt(abar)) for abar in levels]

    def estimate(x: Tensor, i: int) -> Tensor:
        return denoise(x, torch.full((len(x),), timesteps[i], device=x.device))

    def velocity(x: Tensor, i: int) -> Tensor:
        return (math.sqrt(levels[i]) * x - estimate(x, i)) / math.sqrt(1 - levels[i])

    x = noise
    for i in range(len(timesteps) - 1):
        step, slope = angles[i + 1] - angles[i], velocity(x, i)
        if corrected:
            slope = (slope + velocity(x + step * slope, i + 1)) / 2
        x = x + step * slope
    return estimate(x, len(timesteps) - 1)


_WITHOUT_NOISE = {"dpm++": dpm_solver, "heun": heun, "euler": euler}


def sample(
    config: SamplerConfig,
    denoise: Denoiser,
    schedule: Schedule,
    noise: Tensor,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """x0 [B, ...] by the sampler that `config` names. seeds: of the noise drawn on the way, one per sample.

    Raises InputError for a config that breaks its own rules, and as the samplers do.
    """
    if faults := config.faults():
        raise InputError(" ".join(faults))
    if config.name == "ddim":
        return ddim(denoise, schedule, noise, config.steps, config.eta, seeds)
    return _WITHOUT_NOISE[config.name](denoise, schedule, noise, config.steps)


def ancestral(
    denoise: Denoiser, schedule: Schedule, noise: Tensor, seeds: Sequence[int], steps: int | None = None
) -> Tensor:
    """DDPM's ancestral sampling with the posterior variance, over all T steps or `steps` of them.

    This is DDIM at eta = 1: the two updates are the same Gaussian.
    """
    return ddim(denoise, schedule, noise, schedule.steps if steps is None else steps, eta=1.0, seeds=seeds)
