"""The diffusion U-Net in OpenAI's and LDM's shape (System A 1.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.models.config import UNetConfig
from lsr.nn.blocks import Attention, Down, ResBlock, Up, conv3, norm, zeroed
from lsr.nn.timestep import sinusoidal


class Layer(nn.Module):
    """A ResBlock with time embedding, attention where wanted, and a change of size at the end of a level."""

    def __init__(self, block: ResBlock, attention: Attention | None = None, scale: Down | Up | None = None):
        super().__init__()
        self.block = block
        self.attention = attention or nn.Identity()
        self.scale = scale or nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        out: Tensor = self.scale(self.attention(self.block(x, emb)))
        return out


class UNet(nn.Module):
    """x [B, in - cond, H, W], t int64 [B], cond [B, cond, H, W] or None -> [B, out, H, W].

    The condition is concatenated. Sides must be multiples of `factor`, else InputError. The last convolution starts
    at zero, so an untrained U-Net returns zero.
    """

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.config = config
        self.embed_in = nn.Linear(config.channels, 4 * config.channels)
        self.embed_out = nn.Linear(4 * config.channels, 4 * config.channels)
        self.conv_in = conv3(in_channels, config.channels)
        self.encoder, skips = self._encoder()
        width = skips[-1]
        self.middle_in = Layer(self._block(width, width), Attention(width, config.head_channels))
        self.middle_out = Layer(self._block(width, width))
        self.decoder = self._decoder(width, skips)
        self.norm_out = norm(config.channels * config.multipliers[0])
        self.conv_out = zeroed(conv3(config.channels * config.multipliers[0], out_channels))

    def _block(self, in_channels: int, out_channels: int) -> ResBlock:
        config = self.config
        return ResBlock(in_channels, out_channels, embedding=4 * config.channels, dropout=config.dropout)

    def _attention(self, level: int, channels: int) -> Attention | None:
        wanted = 2**level in self.config.attention_factors
        return Attention(channels, self.config.head_channels) if wanted else None

    def _encoder(self) -> tuple[nn.ModuleList, list[int]]:
        """Layers from fine to coarse, and the channels of every skip: conv_in's, each block's, each Down's."""
        layers: list[nn.Module] = []
        skips = [self.config.channels]
        for level, multiplier in enumerate(self.config.multipliers):
            width = self.config.channels * multiplier
            for _ in range(self.config.blocks):
                layers.append(Layer(self._block(skips[-1], width), self._attention(level, width)))
                skips.append(width)
            if level + 1 < len(self.config.multipliers):
                layers.append(Down(width))
                skips.append(width)
        return nn.ModuleList(layers), skips

    def _decoder(self, width: int, skips: list[int]) -> nn.ModuleList:
        """Layers from coarse to fine; each first concatenates the last unused skip."""
        layers = []
        waiting = list(skips)
        for level, multiplier in reversed(list(enumerate(self.config.multipliers))):
            out = self.config.channels * multiplier
            for i in range(self.config.blocks + 1):
                scale = Up(out) if level and i == self.config.blocks else None
                layers.append(Layer(self._block(width + waiting.pop(), out), self._attention(level, out), scale))
                width = out
        return nn.ModuleList(layers)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        factor = self.config.factor
        if x.shape[-2] % factor or x.shape[-1] % factor:
            raise InputError(f"The U-Net needs sides that are multiples of {factor}, found {tuple(x.shape[-2:])}.")
        emb = self.embed_out(F.silu(self.embed_in(sinusoidal(t, self.config.channels).to(x.dtype))))
        h: Tensor = self.conv_in(x if cond is None else torch.cat([x, cond], dim=1))
        skips = [h]
        for layer in self.encoder:
            h = layer(h) if isinstance(layer, Down) else layer(h, emb)
            skips.append(h)
        h = self.middle_out(self.middle_in(h, emb), emb)
        for layer in self.decoder:
            h = layer(torch.cat([h, skips.pop()], dim=1), emb)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out
