"""EDSR-baseline (Lim et al. 2017, Sec 3 and 4), whose body LIIF and IDM build on.

Residual blocks without normalisation, then sub-pixel up-sampling for one factor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsr.models.baselines.config import EdsrConfig
from lsr.nn.blocks import ResidualConvs, conv3

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K in [0, 1], which EDSR subtracts before and adds after (its MeanShift)."""


class EdsrBody(nn.Module):
    """Features at the image's own size: [B, 3, h, w] -> [B, channels, h, w]."""

    def __init__(self, channels: int, blocks: int, residual_scale: float = 1.0):
        super().__init__()
        self.head = conv3(3, channels)
        self.body = nn.Sequential(
            *(ResidualConvs(channels, residual_scale) for _ in range(blocks)), conv3(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.head(x)
        out: Tensor = h + self.body(h)
        return out


def sub_pixel(channels: int, factor: int) -> nn.Sequential:
    """Enlarge by `factor` (a power of 2, or 3): a convolution and a pixel shuffle for each 2, or one for 3."""
    steps = [3] if factor == 3 else [2] * (factor.bit_length() - 1)
    layers: list[nn.Module] = []
    for step in steps:
        layers += [conv3(channels, channels * step * step), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class Edsr(nn.Module):
    """LR [B, 3, h, w] in [-1, 1] -> [B, 3, factor h, factor w], nominally in [-1, 1], not clamped."""

    mean: Tensor

    def __init__(self, config: EdsrConfig):
        super().__init__()
        self.config = config
        self.features = EdsrBody(config.channels, config.blocks, config.residual_scale)
        self.upsample = sub_pixel(config.channels, config.factor)
        self.conv_out = conv3(config.channels, 3)
        # On [-1, 1], where the published network runs on [0, 255].
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1) * 2 - 1, persistent=False)

    def forward(self, lr: Tensor) -> Tensor:
        out: Tensor = self.conv_out(self.upsample(self.features(lr - self.mean))) + self.mean
        return out
