"""Stage *joint*: denoising and alignment in one loss (System A Eq 7-9).

The image error is back-propagated through the fixed neural decoder to the U-Net: the decoder's weights take no
gradient, but autograd stays on through it (method.md, gotcha 11).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.diffusion.weighting import align_weight
from lsr.models.system import LatentSystem
from lsr.nn.units import from_levels
from lsr.training.config import DenoiseLoss, JointLoss
from lsr.training.objectives.denoise import denoising_loss, to_denoise
from lsr.training.objectives.latent import Noised, one_step_preview, train_only_unet
from lsr.training.objectives.pixels import lr_image, scaled_size, truth_at
from lsr.training.protocols import Batch, Draws
from lsr.training.terms import Compared, ImageLoss, Perceptual


class JointObjective:
    """denoise_weight * L_dm + image_weight * L_recon from one forward of the U-Net, which is the product.

    L_recon = mean of min(abar / (1 - abar), cap) * (image terms of x and ND(z0_hat)), z0_hat the one-step estimate at
    the sampled t, rendered at one random scale a global batch. `scale` is logged, so that its histogram can be drawn.
    denoise: how L_dm is measured; its rectification is of both losses. image_weight 0 skips the decoder. degrade: makes
    the LR image of a tile, which a residual system's render is added to. perceptual: the distance that the terms
    need.
    """

    def __init__(
        self,
        system: LatentSystem,
        config: JointLoss,
        denoise: DenoiseLoss | None = None,
        degrade: Callable[[Tensor], Tensor] | None = None,
        perceptual: Perceptual | None = None,
    ):
        train_only_unet(system)
        self.system, self.config, self.denoise = system, config, denoise or DenoiseLoss()
        self.degrade = degrade if system.config.residual else None
        self.compare = ImageLoss(config.image, perceptual)
        self.compare.join(system.unet)
        self.terms = ("denoise", "image", "scale", *self.compare.terms)

    @property
    def model(self) -> nn.Module:
        return self.system.unet

    def to(self, device: torch.device) -> None:
        self.system.to(device)
        self.compare.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        at = to_denoise(self.system, self.denoise, batch, draws)
        output = self.system.predict(at.x_t, at.t, at.cond).float()
        denoise = denoising_loss(self.system, self.denoise, at, output)
        scale = draws.scale(*self.config.scales)
        found = Compared.nothing(denoise, self.compare.terms)
        if self.config.image_weight > 0:
            found = self._image_loss(at, output, batch, scale, draws.seen)
        total = self.config.denoise_weight * denoise + self.config.image_weight * found.total
        terms = {"denoise": denoise, "image": found.point, "scale": denoise.new_tensor(scale)}
        return total, {**terms, **found.terms}

    def _image_loss(self, at: Noised, output: Tensor, batch: Batch, scale: float, seen: int) -> Compared:
        size, x = scaled_size(batch["tile"], scale), from_levels(batch["tile"])
        lr = None if self.degrade is None else lr_image(batch, x, self.degrade)
        image = self.system.decode(at.z0_hat(self.system, output), size, lr=lr)
        weight, last = align_weight(at.abar, self.config.cap), self.system.unet.conv_out.weight
        return self.compare(image, truth_at(x, size), seen=seen, last=last, weight=weight)

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        return one_step_preview(self.system, batch, self.degrade)
