"""The LR condition made in the training loop, for degradations that are drawn anew for every sample and so cannot be
cached as latents.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.randomness import derive_seed
from lsr.data.degrade import DegradationConfig, degrade, restore_size
from lsr.models.system import LatentSystem
from lsr.nn.units import from_levels
from lsr.training.objectives.pixels import SHOWN
from lsr.training.own import Extended
from lsr.training.protocols import Batch, Draws, Objective


class ConditionInLoop(Extended):
    """A stage's objective on batches to which "lr_image" [b, 3, h, w] in [-1, 1] is added, made of "tile" by
    `degradation` with draws by sample position; with a system also "lr", its latent, as the latents stage caches it.

    system: whose frozen encoder encodes; None where a stage needs the image alone.
    """

    def __init__(self, standard: Objective, degradation: DegradationConfig, system: LatentSystem | None = None):
        super().__init__(standard)
        self.degradation, self.system = degradation, system

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        return self.standard.loss(self.conditioned(batch, draws), draws)

    def preview(self, batch: Batch) -> NDArray[np.uint8] | None:
        shown = {name: value[:SHOWN] for name, value in batch.items()}
        return self.standard.preview(self.conditioned(shown, Draws(seed=0, stage="preview", step=0, first=0)))

    @torch.no_grad()
    def conditioned(self, batch: Batch, draws: Draws) -> Batch:
        """The batch with what is added. In float32, as the latents stage encodes, whatever the stage trains in."""
        x = from_levels(batch["tile"])
        seeds = [derive_seed(draws.seed, draws.stage, "degradation", p) for p in batch["position"].tolist()]
        with torch.autocast(x.device.type, enabled=False):
            lr = degrade(self.degradation, x, seeds)
            if self.system is None:
                return {**batch, "lr_image": lr}
            restored = restore_size(self.degradation, lr, (x.shape[-2], x.shape[-1]))
            return {**batch, "lr_image": lr, "lr": self.system.encoder(restored).mode()}
