"""What the denoising and the joint objective share: noised latents and the denoising loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.errors import ConfigError
from lsr.diffusion.prediction import to_eps, to_x0
from lsr.diffusion.shift import add_noise_shifted
from lsr.models.system import LatentSystem
from lsr.nn.units import from_levels
from lsr.training.objectives.pixels import SHOWN, as_shown, grid, lr_image
from lsr.training.protocols import Batch, Draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Noised:
    """A micro-batch on its way through the forward process. z0, noise, x_t, cond: whitened [b, c, h, w], cond None for
    generation. t: int64 [b]. abar: float64 [b].
    """

    z0: Tensor
    noise: Tensor
    x_t: Tensor
    cond: Tensor | None
    t: Tensor
    abar: Tensor

    def z0_hat(self, system: LatentSystem, output: Tensor) -> Tensor:
        """The one-step estimate of z0 that the network's output implies (method.md 2.3)."""
        return to_x0(system.config.diffusion.prediction, output, self.x_t, self.abar)


def condition_of(system: LatentSystem, batch: Batch) -> Tensor | None:
    """The whitened LR latent. Raises ConfigError if a super-resolution model's batch has none."""
    if not system.config.conditional:
        return None
    if "lr" not in batch:
        raise ConfigError(
            f"A super-resolution model needs the LR latent 'lr' in each batch, found {', '.join(batch)}; "
            "give the latent source its degradation."
        )
    return system.whiten(batch["lr"])


def noised(system: LatentSystem, batch: Batch, draws: Draws) -> Noised:
    """Sample the latent (hr_mean, + hr_std * noise if there is one), whiten it, and noise it to a random timestep."""
    z, position = batch["hr_mean"], batch["position"]
    if "hr_std" in batch:
        z = z + batch["hr_std"] * draws.noise(position, z, "posterior")
    z0 = system.whiten(z)
    t = draws.timesteps(position, system.schedule.steps).to(z0.device)
    noise = draws.noise(position, z0)
    cond = condition_of(system, batch)
    x_t = forward_process(system, z0, cond, noise, t)
    return Noised(z0=z0, noise=noise, x_t=x_t, cond=cond, t=t, abar=system.schedule.abar(t))


def forward_process(system: LatentSystem, z0: Tensor, cond: Tensor | None, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of whitened latents, shifted towards the condition where the system's config says so."""
    if system.config.diffusion.shift and cond is not None:
        return add_noise_shifted(system.schedule, z0, cond, noise, t)
    return system.schedule.add_noise(z0, noise, t)


def rectified(system: LatentSystem, at: Noised, power: float) -> Noised:
    """The same micro-batch with the network's own error in it, as it will meet it when sampling (DREAM, CVPR 2024).

    noise' = noise + sqrt(1 - abar)^power * (noise - estimated noise), x_t' = sqrt(abar) z0 + sqrt(1 - abar) noise'; the
    estimate takes one more forward, without a gradient.
    """
    with torch.no_grad():
        output = system.predict(at.x_t, at.t, at.cond).float()
    # Older releases of torch continue under autocast with the weights rounded here, which have no gradient.
    torch.clear_autocast_cache()
    error = at.noise - to_eps(system.config.diffusion.prediction, output, at.x_t, at.abar)
    share = (1 - at.abar).sqrt().pow(power).reshape(-1, 1, 1, 1).to(error.dtype)
    noise = at.noise + share * error
    return replace(at, noise=noise, x_t=forward_process(system, at.z0, at.cond, noise, at.t))


def train_only_unet(system: LatentSystem) -> None:
    """The U-Net trains; all else keeps its weights and eval mode, and still passes gradients on."""
    system.requires_grad_(False).eval()
    system.unet.requires_grad_(True).train()


def one_step_preview(
    system: LatentSystem, batch: Batch, degrade: Callable[[Tensor], Tensor] | None = None
) -> NDArray[np.uint8]:
    """LR condition (where there is one) | one-step estimate from half of the timesteps | truth, all decoded.

    A residual system's renders are added to the LR image that `degrade` makes of the batch's tiles, which a body sees
    too; to mid-grey where the batch has none.
    """
    shown = {name: value[:SHOWN] for name, value in batch.items()}
    z0 = system.whiten(shown["hr_mean"])
    draws = Draws(seed=0, stage="preview", step=0, first=0)
    t = torch.full((len(z0),), system.schedule.steps // 2, device=z0.device)
    noise = draws.noise(shown["position"], z0)
    f = system.config.autoencoder.factor
    size = z0.shape[-2] * f, z0.shape[-1] * f
    with as_shown(system):
        cond = condition_of(system, shown)
        x_t = forward_process(system, z0, cond, noise, t)
        latents = [system.denoiser(cond)(x_t, t), z0]
        lr = z0.new_zeros(len(z0), 3, *(max(1, side // system.config.base_scale) for side in size))
        if degrade is not None and "tile" in shown:
            lr = lr_image(shown, from_levels(shown["tile"]), degrade)
        return grid([system.decode(z, size, lr=lr) for z in ([] if cond is None else [cond]) + latents])
