"""A small convolutional renderer (CLIF of INFD, Chen et al. 2024; method 6).

Every output pixel takes its nearest feature, its relative coordinate and its relative cell; convolutions over the
output pixels then let neighbours agree, which a perceptron a query cannot.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.models.config import RendererConfig
from lsr.models.renderer import Neighbour, bands_of, neighbours, rows_of
from lsr.nn.blocks import conv3, zeroed
from lsr.nn.coords import feature_positions
from lsr.nn.select import select

BLOCKS = 2
HALO = 2 + 2 * BLOCKS
"""How many rows above and below an output pixel its colour depends on: one a 3 x 3 convolution."""


class ChannelNorm(nn.Module):
    """Zero mean and unit variance over the channels of each pixel, then a scale and a shift: [B, C, H, W].

    INFD has group norm, whose statistics are those of the whole image: a band of rows would come out otherwise than
    in the image, and one image otherwise at another size. This norm sees one pixel.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


class _Block(nn.Module):
    """norm-SiLU-conv twice, around a residual; starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm_in, self.conv_in = ChannelNorm(channels), conv3(channels, channels)
        self.norm_out, self.conv_out = ChannelNorm(channels), zeroed(conv3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        out: Tensor = x + self.conv_out(F.silu(self.norm_out(h)))
        return out


class ConvRenderer(nn.Module):
    """[nearest feature, relative (y, x), relative cell (y, x)] -> conv, two residual blocks, norm, conv -> RGB."""

    def __init__(self, channels: int, config: RendererConfig):
        super().__init__()
        self.config = config
        self.conv_in = conv3(channels + 2 + (2 if config.cell_decoding else 0), config.channels)
        self.blocks = nn.Sequential(*(_Block(config.channels) for _ in range(BLOCKS)))
        self.norm_out = ChannelNorm(config.channels)
        self.last = conv3(config.channels, 3)

    def forward(
        self,
        features: Tensor,
        size: tuple[int, int],
        rows: tuple[int, int] | None = None,
        extent: tuple[float, float] | None = None,
    ) -> Tensor:
        """As `Renderer.forward`. A band is rendered with HALO rows of the image around it, which are cut off again."""
        extent = extent or (features.shape[-2], features.shape[-1])
        if torch.is_grad_enabled():
            # Recorded activations are kept for all bands anyway, so that the halos would only cost.
            bands = [rows_of(features, size, rows, extent)]
        else:
            bands = bands_of(features, size, rows, extent, least=HALO)
        return torch.cat([self._band(features, size, extent, *one) for one in bands], dim=2)

    def _band(
        self, features: Tensor, size: tuple[int, int], extent: tuple[float, float], start: int, stop: int
    ) -> Tensor:
        above, below = max(0, start - HALO), min(size[0], stop + HALO)
        h = self.blocks(self.conv_in(self._inputs(features, size, extent, above, below)))
        image: Tensor = self.last(F.silu(self.norm_out(h)))[:, :, start - above : stop - above]
        return image.to(torch.promote_types(image.dtype, torch.float32))

    def _inputs(
        self, features: Tensor, size: tuple[int, int], extent: tuple[float, float], start: int, stop: int
    ) -> Tensor:
        y_at = feature_positions(size[0], extent[0], start, stop)
        low = max(0, math.floor(y_at[0]))
        features = features[:, :, low : math.floor(y_at[-1]) + 3]
        (y,) = neighbours(y_at - low, features.shape[2], ensemble=False, like=features)
        (x,) = neighbours(feature_positions(size[1], extent[1]), features.shape[3], ensemble=False, like=features)
        nearest = select(select(features, 2, y.index), 3, x.index)
        return torch.cat([nearest, self._place(y, x, size, extent).expand(len(features), -1, -1, -1)], dim=1)

    def _place(self, y: Neighbour, x: Neighbour, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
        """Relative coordinate and cell, one channel an axis: [4 or 2, rows, columns]."""
        shape = len(y.offset), len(x.offset)
        planes = [y.offset[:, None].expand(shape), x.offset.expand(shape)]
        if self.config.cell_decoding:
            planes += [y.offset.new_full(shape, 2 * part / side) for part, side in zip(extent, size)]
        return torch.stack(planes)
