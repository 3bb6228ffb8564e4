"""Stage *denoise*: latent diffusion alone, L_dm (System A Eq 4)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.diffusion.prediction import target
from lsr.diffusion.weighting import min_snr, uniform
from lsr.models.system import LatentSystem
from lsr.training.config import DenoiseLoss
from lsr.training.objectives.latent import Noised, noised, one_step_preview, rectified, train_only_unet
from lsr.training.protocols import Batch, Draws


def denoising_loss(system: LatentSystem, config: DenoiseLoss, at: Noised, output: Tensor) -> Tensor:
    """L_dm: mean over the samples of weight(t) * mean |target - output|^p; target is what the prediction kind says."""
    kind = system.config.diffusion.prediction
    error = target(kind, at.z0, at.noise, at.abar) - output
    per_sample = (error.abs() if config.norm == "l1" else error.square()).mean(dim=(1, 2, 3))
    weight = min_snr(kind, at.abar, config.gamma) if config.weighting == "min-snr" else uniform(at.abar)
    return (weight.to(per_sample.dtype) * per_sample).mean()


def to_denoise(system: LatentSystem, config: DenoiseLoss, batch: Batch, draws: Draws) -> Noised:
    """The noised micro-batch that L_dm is measured on, rectified where the config says so."""
    at = noised(system, batch, draws)
    return at if config.dream is None else rectified(system, at, config.dream)


class DenoiseObjective:
    """L_dm on whitened latents, for super-resolution under the whitened LR latent. The product is the U-Net."""

    terms = ()

    def __init__(self, system: LatentSystem, config: DenoiseLoss):
        train_only_unet(system)
        self.system, self.config = system, config

    @property
    def model(self) -> nn.Module:
        return self.system.unet

    def to(self, device: torch.device) -> None:
        self.system.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        at = to_denoise(self.system, self.config, batch, draws)
        output = self.system.predict(at.x_t, at.t, at.cond).float()
        return denoising_loss(self.system, self.config, at, output), {}

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        return one_step_preview(self.system, batch)
