"""Stage *decoder*: the implicit neural decoder at random output scales (method.md 2.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.models.autoencoder import Encoder, Moments
from lsr.models.neural_decoder import NeuralDecoder
from lsr.nn.resize import resize
from lsr.nn.units import from_levels
from lsr.training.config import DecoderLoss
from lsr.training.objectives.pixels import SHOWN, as_shown, grid, lr_image, scaled_size, truth_at
from lsr.training.protocols import Batch, Draws
from lsr.training.terms import ImageLoss, Perceptual


class FirstStage(nn.Module):
    """Encoder and neural decoder, the product of the stage; names as in `LatentSystem`. A frozen encoder stays in eval
    mode and takes no gradient.
    """

    def __init__(self, encoder: Encoder, decoder: NeuralDecoder, *, freeze_encoder: bool):
        super().__init__()
        self.encoder = encoder.requires_grad_(not freeze_encoder)
        self.decoder = decoder.requires_grad_(True)
        self.freeze_encoder = freeze_encoder
        self.train()

    def train(self, mode: bool = True) -> FirstStage:
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def encode(self, x: Tensor) -> Moments:
        """Moments of the latent, without a graph if the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            moments: Moments = self.encoder(x)
        return moments


class DecoderObjective:
    """The image terms of resize(x, s) and ND(z, s) over the full output grid, at one random scale s a global batch.

    degrade: makes the LR image of a tile; given for a residual decoder, whose render is added to the bicubic
    enlargement of LR before it is compared. perceptual: the distance that the terms need. restore: brings LR images
    [B, 3, h, w] to a size, as the condition is before it is encoded; config.lr_share needs it.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: NeuralDecoder,
        config: DecoderLoss,
        degrade: Callable[[Tensor], Tensor] | None = None,
        perceptual: Perceptual | None = None,
        restore: Callable[[Tensor, tuple[int, int]], Tensor] | None = None,
    ):
        self.restore = restore
        self.model = FirstStage(encoder, decoder, freeze_encoder=config.freeze_encoder)
        self.config, self.degrade = config, degrade
        self.compare = ImageLoss(config.image, perceptual)
        self.compare.join(self.model)
        self.terms = ("scale", *self.compare.terms)

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self.compare.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        x = from_levels(batch["tile"])
        lr = self._lr(batch, x)
        z = self._latents(batch["position"], x, lr, draws)
        scale = draws.scale(*self.config.scales)
        size = scaled_size(x, scale)
        image = self._render(self.model.decoder.features(z, lr), lr, size)
        last = self.model.decoder.renderer.last.weight
        found = self.compare(image, truth_at(x, size), seen=draws.seen, last=last)
        return found.total, {"scale": x.new_tensor(scale), **found.terms}

    def _latents(self, position: Tensor, x: Tensor, lr: Tensor | None, draws: Draws) -> Tensor:
        """Samples of the tiles' posteriors; of `lr_share` of the positions the condition, which is a mode."""
        if self.config.lr_share == 0 or lr is None or self.restore is None:
            moments = self.model.encode(x)
            return moments.sample(draws.noise(position, moments.mean, "posterior"))
        given = draws.chance(position, self.config.lr_share)[:, None, None, None]
        moments = self.model.encode(torch.where(given, self.restore(lr, (x.shape[-2], x.shape[-1])), x))
        noise = draws.noise(position, moments.mean, "posterior")
        return moments.sample(noise.masked_fill(given, 0.0))

    def _lr(self, batch: Batch, x: Tensor) -> Tensor | None:
        return None if self.degrade is None else lr_image(batch, x, self.degrade)

    def _render(self, features: Tensor, lr: Tensor | None, size: tuple[int, int]) -> Tensor:
        image = self.model.decoder.render(features, size).float()
        return image if lr is None else image + resize(lr, size)

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        """Tile | render at a quarter of its side | render at its side."""
        shown = {name: value[:SHOWN] for name, value in batch.items()}
        x = from_levels(shown["tile"])
        with as_shown(self.model):
            lr = self._lr(shown, x)
            features = self.model.decoder.features(self.model.encode(x).mode(), lr)
            renders = [self._render(features, lr, scaled_size(x, s)) for s in (0.25, 1.0)]
            return grid([x, *renders])
