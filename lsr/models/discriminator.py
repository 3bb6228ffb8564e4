"""The patch discriminator of the adversarial loss (PatchGAN, Isola et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.models.config import DiscriminatorConfig
from lsr.nn.blocks import norm


class Discriminator(nn.Module):
    """Image [B, 3, H, W] in [-1, 1] -> verdicts [B, 1, h, w], one a patch, high for real.

    4 x 4 convolutions: `layers` of stride 2, two of stride 1, leaky ReLU between. The published network has batch norm;
    group norm stands here, so that a verdict does not depend on the rest of the batch and no running statistics have
    to agree between processes. Weights start at N(0, 0.02^2). Raises InputError below min_side pixels.
    """

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.min_side = config.min_side
        widths = [config.channels * min(2**i, 8) for i in range(config.layers + 1)]
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i, (a, b) in enumerate(pairwise(widths)):
            stride = 2 if i + 1 < config.layers else 1
            layers += [nn.Conv2d(a, b, 4, stride=stride, padding=1, bias=False), norm(b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self.min_side:
            raise InputError(
                f"The discriminator needs images of at least {self.min_side} x {self.min_side} pixels, found "
                f"{x.shape[-2]} x {x.shape[-1]}; raise the smallest training scale or use fewer layers."
            )
        out: Tensor = self.layers(x)
        return out

    def judge_frozen(self, x: Tensor) -> Tensor:
        """The verdicts with gradients to the image only, none to the discriminator's own weights."""
        fixed = {name: value.detach() for name, value in self.named_parameters()}
        out: Tensor = torch.func.functional_call(self, fixed, (x,))
        return out
