"""The pixel U-Net of SR3's port, which IDM shares (method.md 4).

It differs from the latent U-Net (lsr/models/unet.py) in that it sees a continuous noise level, adds its embedding
without a nonlinearity, pads its strided convolutions on both sides, attends with one head, and leaves the enlargement
in the decoder to its owner: SR3 and IDM do it in different ways.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.models.baselines.config import PixelUNetConfig
from lsr.nn.blocks import Attention, conv3, norm
from lsr.nn.timestep import sinusoidal

Lift = Callable[[int, Tensor, tuple[int, int]], Tensor]
"""(level, features [B, C, h, w] of that level, size (H, W) of the level above) -> features [B, C, H, W]."""

_GROUPS = 32


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups as published; for the narrow layers of small models the house's rule."""
    wide = channels >= 2 * _GROUPS and channels % _GROUPS == 0
    return nn.GroupNorm(_GROUPS, channels) if wide else norm(channels)


class NoiseLevel(nn.Module):
    """sqrt(abar) [B], continuous -> its embedding [B, channels]: sines and cosines, then an MLP of two layers."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.first = nn.Linear(channels, 4 * channels)
        self.second = nn.Linear(4 * channels, channels)

    def forward(self, level: Tensor) -> Tensor:
        waves = sinusoidal(level, self.channels).to(self.first.weight.dtype)
        out: Tensor = self.second(F.silu(self.first(waves)))
        return out


def _attention(channels: int) -> Attention:
    """One head; the projection to queries, keys and values has no bias here."""
    made = Attention(channels)
    made.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
    return made


class PixelBlock(nn.Module):
    """norm-SiLU-conv twice around a residual, the embedding added between, attention after it where wanted."""

    def __init__(self, in_channels: int, out_channels: int, embedding: int, dropout: float, *, attend: bool):
        super().__init__()
        self.norm_in = group_norm(in_channels)
        self.conv_in = conv3(in_channels, out_channels)
        self.project = nn.Linear(embedding, out_channels)
        self.norm_out = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = conv3(out_channels, out_channels)
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
        self.attention = _attention(out_channels) if attend else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x))) + self.project(emb)[:, :, None, None]
        h = self.conv_out(self.dropout(F.silu(self.norm_out(h))))
        out: Tensor = self.attention(self.skip(x) + h)
        return out


class Halve(nn.Module):
    """A strided 3x3 convolution: n pixels become ceil(n / 2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class PixelUNet(nn.Module):
    """x [B, in, H, W] of any size, level = sqrt(abar) [B] -> [B, out, H, W]; `lift` enlarges in the decoder."""

    def __init__(self, config: PixelUNetConfig, in_channels: int = 6, out_channels: int = 3):
        super().__init__()
        self.config = config
        self.level = NoiseLevel(config.channels)
        self.conv_in = conv3(in_channels, config.channels)
        self.encoder, skips = self._encoder()
        width = config.widths[-1]
        self.middle = nn.ModuleList([self._block(width, width, attend=attend) for attend in (True, False)])
        self.decoder = self._decoder(skips)
        self.norm_out = group_norm(config.widths[0])
        self.conv_out = conv3(config.widths[0], out_channels)

    def _block(self, in_channels: int, out_channels: int, *, attend: bool) -> PixelBlock:
        return PixelBlock(in_channels, out_channels, self.config.channels, self.config.dropout, attend=attend)

    def _encoder(self) -> tuple[nn.ModuleList, list[int]]:
        """Layers from fine to coarse, and the channels of every skip: conv_in's, each block's, each Halve's."""
        layers: list[nn.Module] = []
        skips = [self.config.channels]
        for level, width in enumerate(self.config.widths):
            for _ in range(self.config.blocks):
                layers.append(self._block(skips[-1], width, attend=2**level in self.config.attention_factors))
                skips.append(width)
            if level + 1 < len(self.config.widths):
                layers.append(Halve(width))
                skips.append(width)
        return nn.ModuleList(layers), skips

    def _decoder(self, skips: list[int]) -> nn.ModuleList:
        """For each level from coarse to fine its blocks; each first concatenates the last unused skip."""
        levels: list[nn.Module] = []
        waiting, before = list(skips), self.config.widths[-1]
        for level, width in reversed(list(enumerate(self.config.widths))):
            blocks = []
            for _ in range(self.config.blocks + 1):
                attend = 2**level in self.config.attention_factors
                blocks.append(self._block(before + waiting.pop(), width, attend=attend))
                before = width
            levels.append(nn.ModuleList(blocks))
        return nn.ModuleList(levels)

    def forward(self, x: Tensor, level: Tensor, lift: Lift) -> Tensor:
        emb = self.level(level)
        h: Tensor = self.conv_in(x)
        skips = [h]
        for layer in self.encoder:
            h = layer(h) if isinstance(layer, Halve) else layer(h, emb)
            skips.append(h)
        for block in self.middle:
            h = block(h, emb)
        coarsest = len(self.config.widths) - 1
        for number, blocks in zip(range(coarsest, -1, -1), self.decoder):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(torch.cat([h, skips.pop()], dim=1), emb)
            if number:
                above = skips[-1].shape[-2:]
                h = lift(number, h, (above[0], above[1]))
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


def orthogonal(model: nn.Module) -> None:
    """SR3's and IDM's start: orthogonal weights and zero biases in every plain convolution and linear layer."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.is_meta:
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
