"""ESRGAN: L1, perceptual and relativistic adversarial loss in one number (Wang et al. 2018, Sec 3.2 and 3.3).

The loop has one loss and one optimiser, so both players move at once: the generator's part sees the discriminator with
its weights detached, the discriminator's part sees the generator's image detached. The gradient of the sum is then
each player's own. The published training alternates instead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from lsr.core.errors import ConfigError
from lsr.models.baselines.rrdb import Adversaries
from lsr.nn.units import from_levels
from lsr.training.baselines import EsrganLoss
from lsr.training.objectives.pixels import SHOWN, as_shown, grid
from lsr.training.objectives.regression import PREVIEW, Degrade, distance
from lsr.training.protocols import Batch, Draws

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Two images [B, 3, H, W] in [0, 1] -> their distance [B], with gradients; an nn.Module is moved to the device."""


def relativistic(more: Tensor, less: Tensor) -> Tensor:
    """How far `more` fails to look more real than `less`, and `less` less than `more` (half of Eq 1 and 2): a scalar.

    more, less: logits of the images that should win and lose. Averages are over the micro-batch and its patches.
    """
    win = F.softplus(-(more - less.mean())).mean()
    lose = F.softplus(less - more.mean()).mean()
    return (win + lose) / 2


class EsrganObjective:
    """The generator's weighted sum plus the discriminator's loss. The product is the generator within `model`."""

    terms = ("pixel", "perceptual", "adversarial", "discriminator")

    def __init__(self, model: Adversaries, config: EsrganLoss, degrade: Degrade, perceptual: Perceptual | None = None):
        if config.perceptual_weight > 0 and perceptual is None:
            raise ConfigError(
                f"perceptual_weight must be 0 where no perceptual distance is given, found {config.perceptual_weight}; "
                "fetch one (`lsr data get lpips`) or set the weight to 0."
            )
        self.model, self.config, self.degrade, self.perceptual = model, config, degrade, perceptual

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        if isinstance(self.perceptual, nn.Module):
            self.perceptual.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        real = from_levels(batch["tile"])
        fake: Tensor = self.model.generator(self.degrade(real, batch["position"], draws)).float()
        pixel = distance("l1", fake, real)
        terms = {name: torch.zeros_like(pixel) for name in self.terms} | {"pixel": pixel}
        if draws.seen < self.config.pretrain:
            return pixel, terms
        total = self.config.pixel_weight * pixel
        if self.config.perceptual_weight > 0 and self.perceptual is not None:
            shown = ((image + 1) / 2 for image in (fake, real))
            terms["perceptual"] = self.perceptual(*shown).mean()
            total = total + self.config.perceptual_weight * terms["perceptual"]
        terms["adversarial"] = self._generator_part(fake, real)
        terms["discriminator"] = self._discriminator_part(fake, real)
        total = total + self.config.adversarial_weight * terms["adversarial"] + terms["discriminator"]
        return total, terms

    def _generator_part(self, fake: Tensor, real: Tensor) -> Tensor:
        fixed = {name: value.detach() for name, value in self.model.discriminator.named_parameters()}
        judged = [functional_call(self.model.discriminator, fixed, (image,)).float() for image in (fake, real)]
        return relativistic(*judged)

    def _discriminator_part(self, fake: Tensor, real: Tensor) -> Tensor:
        judged = [self.model.discriminator(image).float() for image in (real, fake.detach())]
        return relativistic(*judged)

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        """LR | output | tile."""
        x = from_levels(batch["tile"][:SHOWN])
        with as_shown(self.model):
            lr = self.degrade(x, batch["position"][:SHOWN], PREVIEW)
            return grid([lr, self.model.generator(lr), x])
