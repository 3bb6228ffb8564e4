"""Stage *autoencoder*: plain reconstruction (method.md 2.1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.models.autoencoder import Autoencoder, Moments
from lsr.nn.units import from_levels
from lsr.training.config import AutoencoderLoss
from lsr.training.objectives.pixels import SHOWN, as_shown, grid
from lsr.training.protocols import Batch, Draws
from lsr.training.terms import ImageLoss, Perceptual


def kl_per_value(moments: Moments) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)) in nats, mean over latent values; 0 for a plain bottleneck."""
    if moments.std is None:
        return torch.zeros((), device=moments.mean.device)
    mean, std = moments.mean.float(), moments.std.float()
    return 0.5 * (mean**2 + std**2 - 1 - 2 * std.log()).mean()


class AutoencoderObjective:
    """The image terms of x and D(z) + kl_weight * KL, z drawn from the posterior where the bottleneck is Gaussian.

    The product is the whole autoencoder. perceptual: needed where the terms ask for it. freeze_encoder: train the
    decoder alone, for an encoder that others depend on.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        config: AutoencoderLoss,
        perceptual: Perceptual | None = None,
        *,
        freeze_encoder: bool = False,
    ):
        self.model = autoencoder.train().requires_grad_(True)
        self.model.encoder.requires_grad_(not freeze_encoder)
        self.config, self.compare = config, ImageLoss(config.image, perceptual)
        self.compare.join(self.model)
        self.terms = ("reconstruction", "kl", *self.compare.terms)

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self.compare.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        x = from_levels(batch["tile"])
        moments = self.model.encode(x)
        z = moments.sample(draws.noise(batch["position"], moments.mean, "posterior"))
        found = self.compare(self.model.decode(z), x, seen=draws.seen, last=self.model.conv_out.weight)
        kl = kl_per_value(moments)
        return found.total + self.config.kl_weight * kl, {"reconstruction": found.point, "kl": kl, **found.terms}

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        """Tile | reconstruction."""
        x = from_levels(batch["tile"][:SHOWN])
        with as_shown(self.model):
            return grid([x, self.model(x)])
