"""LIIF (Chen et al. 2021, Sec 3) on EDSR-baseline: any output size from one feature map.

The renderer is LSR's own (lsr/models/renderer.py), which equals LIIF's MLP on [feature, relative coordinate, relative
cell]; here its features are unfolded first, as LIIF does and System A does not.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lsr.models.baselines.config import LiifConfig
from lsr.models.baselines.edsr import EdsrBody
from lsr.models.renderer import Renderer


def unfold3(x: Tensor) -> Tensor:
    """Feature unfolding (Eq 3): [B, C, h, w] -> [B, 9 C, h, w], each pixel with its 3 x 3 neighbours, zero outside."""
    b, c, h, w = x.shape
    return F.unfold(x, 3, padding=1).reshape(b, 9 * c, h, w)


class Liif(nn.Module):
    """LR [B, 3, h, w] in [-1, 1] -> [B, 3, *size] for any size, nominally in [-1, 1], not clamped."""

    def __init__(self, config: LiifConfig):
        super().__init__()
        self.config = config
        self.encoder = EdsrBody(config.channels, config.blocks)
        self.renderer = Renderer(config.channels * (9 if config.unfold else 1), config.renderer)

    def features(self, lr: Tensor) -> Tensor:
        """What the renderer takes: [B, 9 channels (channels without unfolding), h, w]."""
        h: Tensor = self.encoder(lr)
        return unfold3(h) if self.config.unfold else h

    def render(self, features: Tensor, size: tuple[int, int], rows: tuple[int, int] | None = None) -> Tensor:
        """features -> image [B, 3, *size], or only its rows start..stop-1."""
        image: Tensor = self.renderer(features, size, rows)
        return image

    def forward(self, lr: Tensor, size: tuple[int, int], rows: tuple[int, int] | None = None) -> Tensor:
        return self.render(self.features(lr), size, rows)
