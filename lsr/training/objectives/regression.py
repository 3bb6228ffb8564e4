"""EDSR and LIIF: one forward from LR to the truth (method.md 6)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.randomness import derive_seed
from lsr.models.baselines.edsr import Edsr
from lsr.models.baselines.liif import Liif
from lsr.nn.random import uniform
from lsr.nn.resize import resize
from lsr.nn.units import from_levels
from lsr.training.baselines import RegressionLoss
from lsr.training.objectives.pixels import SHOWN, as_shown, grid, scaled_size, truth_at
from lsr.training.protocols import Batch, Draws

Degrade = Callable[[Tensor, Tensor, Draws], Tensor]
"""Tiles [B, 3, H, W], their positions [B], the micro-batch's draws -> their LR [B, 3, h, w]; images in [-1, 1]."""

PREVIEW = Draws(seed=0, stage="preview", step=0, first=0)
"""What is drawn for an image for people."""


def distance(norm: str, a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b| (`l1`) or (a - b)^2 (`l2`) over all values."""
    error = a.float() - b
    return (error.abs() if norm == "l1" else error.square()).mean()


class EdsrObjective:
    """Mean |tile - EDSR(LR)|: the network's one factor is the degradation's."""

    terms = ()

    def __init__(self, model: Edsr, config: RegressionLoss, degrade: Degrade):
        self.model, self.config, self.degrade = model, config, degrade

    def to(self, device: torch.device) -> None:
        self.model.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        x = from_levels(batch["tile"])
        return distance(self.config.norm, self.model(self.degrade(x, batch["position"], draws)), x), {}

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        """LR | output | tile."""
        x = from_levels(batch["tile"][:SHOWN])
        with as_shown(self.model):
            lr = self.degrade(x, batch["position"][:SHOWN], PREVIEW)
            return grid([lr, self.model(lr), x])


class LiifObjective:
    """Mean |truth - LIIF(LR, s)| at one random scale s a global batch.

    LR is fixed and the output's size is drawn, as LIIF trains on whole faces; its recipe for DIV2K keeps the output
    fixed in LR pixels and cuts anew for each scale, which tiles cut once do not allow.
    """

    terms = ("scale",)

    def __init__(self, model: Liif, config: RegressionLoss, degrade: Degrade):
        self.model, self.config, self.degrade = model, config, degrade

    def to(self, device: torch.device) -> None:
        self.model.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        x = from_levels(batch["tile"])
        scale = draws.scale(*self.config.scales)
        size = scaled_size(x, scale)
        rows = self._rows(size, draws)
        image = self.model(self.degrade(x, batch["position"], draws), size, rows)
        truth = truth_at(x, size)[..., slice(*rows), :]
        return distance(self.config.norm, image, truth), {"scale": x.new_tensor(scale)}

    def _rows(self, size: tuple[int, int], draws: Draws) -> tuple[int, int]:
        """The rows that are rendered: all, or a band of `queries` pixels whose place is drawn once a global batch."""
        queries = self.config.queries
        count = size[0] if queries is None else min(size[0], max(1, queries // size[1]))
        draw = uniform(derive_seed(draws.seed, draws.stage, "rows", draws.step))
        start = int(draw * (size[0] - count + 1))
        return start, start + count

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        """LR | render at half of the tile's side | render at its side | tile."""
        x = from_levels(batch["tile"][:SHOWN])
        with as_shown(self.model):
            lr = self.degrade(x, batch["position"][:SHOWN], PREVIEW)
            features = self.model.features(lr)
            renders = [self.model.render(features, scaled_size(x, s)) for s in (0.5, 1.0)]
            return grid([resize(lr, scaled_size(x, 1.0), "nearest"), *renders, x])
