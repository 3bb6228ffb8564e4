"""SR3 and IDM: denoising in pixels under a continuous noise level (method.md 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.randomness import derive_seed
from lsr.diffusion.prediction import target, to_x0
from lsr.diffusion.schedule import Schedule
from lsr.models.baselines.idm import Idm
from lsr.models.baselines.sr3 import Sr3
from lsr.nn.random import uniform
from lsr.nn.units import from_levels
from lsr.training.baselines import PixelDiffusionLoss
from lsr.training.objectives.pixels import SHOWN, as_shown, grid, truth_at
from lsr.training.objectives.regression import PREVIEW, Degrade, distance
from lsr.training.protocols import Batch, Draws


class NoisyImage(NamedTuple):
    """x_t = level x + sqrt(1 - level^2) noise. x, noise, x_t: [B, 3, H, W]. level = sqrt(abar): float64 [B]."""

    x: Tensor
    noise: Tensor
    x_t: Tensor
    level: Tensor


def draw_levels(schedule: Schedule, position: Tensor, draws: Draws) -> Tensor:
    """sqrt(abar), float64 [B]: t uniform in 0..T-1, then uniform between the steps t - 1 and t (1 before the first).

    Both by sample position. The published code draws one t a batch; SR3's paper draws one a sample, as here.
    """
    t = draws.timesteps(position, schedule.steps)
    levels = torch.cat([schedule.alphas_cumprod.new_ones(1), schedule.alphas_cumprod]).sqrt()
    seeds = (derive_seed(draws.seed, draws.stage, "level", p) for p in position.tolist())
    between = torch.tensor([uniform(seed) for seed in seeds], dtype=torch.float64)
    t = t.cpu()
    return levels[t] + between * (levels[t + 1] - levels[t])


def noisy(schedule: Schedule, x: Tensor, position: Tensor, draws: Draws) -> NoisyImage:
    """The forward process at drawn levels, with noise by sample position."""
    level = draw_levels(schedule, position, draws).to(x.device)
    noise = draws.noise(position, x)
    signal, rest = (part.to(x.dtype)[:, None, None, None] for part in (level, (1 - level**2).sqrt()))
    return NoisyImage(x, noise, signal * x + rest * noise, level)


class Sr3Objective:
    """Mean |target - SR3(x_t, level, bicubic LR)| on whole tiles."""

    terms = ()

    def __init__(self, model: Sr3, config: PixelDiffusionLoss, degrade: Degrade):
        self.model, self.config, self.degrade = model, config, degrade

    def to(self, device: torch.device) -> None:
        self.model.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        at = noisy(self.model.schedule, from_levels(batch["tile"]), batch["position"], draws)
        wanted = target(self.model.config.diffusion.prediction, at.x, at.noise, at.level**2)
        condition = self._condition(at.x, batch["position"], draws)
        return distance(self.config.norm, self.model(at.x_t, at.level, condition), wanted), {}

    def _condition(self, x: Tensor, position: Tensor, draws: Draws) -> Tensor:
        return self.model.condition(self.degrade(x, position, draws), (x.shape[-2], x.shape[-1]))

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        """Bicubic LR | one-step estimate at a drawn noise level | tile."""
        x, position = from_levels(batch["tile"][:SHOWN]), batch["position"][:SHOWN]
        with as_shown(self.model):
            at, condition = noisy(self.model.schedule, x, position, PREVIEW), self._condition(x, position, PREVIEW)
            output = self.model(at.x_t, at.level, condition)
            estimate = to_x0(self.model.config.diffusion.prediction, output, at.x_t, at.level**2)
            return grid([condition, estimate, x])


class IdmObjective:
    """Mean |target - IDM(x_t, level, LR, p)| at an output side of LR side + p (tile side - LR side), one p a global
    batch. The truth is the tile resized with antialiasing.
    """

    terms = ("scale",)

    def __init__(self, model: Idm, config: PixelDiffusionLoss, degrade: Degrade):
        self.model, self.config, self.degrade = model, config, degrade

    def to(self, device: torch.device) -> None:
        self.model.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        tile = from_levels(batch["tile"])
        lr = self.degrade(tile, batch["position"], draws)
        p = draws.scale(*self.config.positions)
        at = self._noisy(tile, lr, p, batch["position"], draws)
        output = self.model(at.x_t, at.level, self.model.guide(lr, (at.x.shape[-2], at.x.shape[-1]), p))
        wanted = target(self.model.config.diffusion.prediction, at.x, at.noise, at.level**2)
        loss = distance(self.config.norm, output, wanted)
        return loss, {"scale": loss.new_tensor(at.x.shape[-1] / lr.shape[-1])}

    def _noisy(self, tile: Tensor, lr: Tensor, p: float, position: Tensor, draws: Draws) -> NoisyImage:
        height, width = (
            round(small + p * (large - small)) for small, large in zip(lr.shape[-2:], tile.shape[-2:], strict=True)
        )
        return noisy(self.model.schedule, truth_at(tile, (height, width)), position, draws)

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        """Condition image | one-step estimate at a drawn noise level | tile, all at the tile's size."""
        tile, position = from_levels(batch["tile"][:SHOWN]), batch["position"][:SHOWN]
        with as_shown(self.model):
            lr = self.degrade(tile, position, PREVIEW)
            at = self._noisy(tile, lr, 1.0, position, PREVIEW)
            guide = self.model.guide(lr, (tile.shape[-2], tile.shape[-1]), 1.0)
            output = self.model(at.x_t, at.level, guide)
            estimate = to_x0(self.model.config.diffusion.prediction, output, at.x_t, at.level**2)
            return grid([guide.image, estimate, tile])
