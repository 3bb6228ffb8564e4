"""The convolutional autoencoder in LDM's shape (System A 1.2).

The symmetric decoder is one module with or without its up-sampling layers: with them it is half of the autoencoder,
without them it is D_phi of the neural decoder, and the weights carry over by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.models.config import AutoencoderConfig
from lsr.nn.blocks import Attention, Down, ResBlock, Up, conv3, norm


@dataclass(frozen=True, slots=True)
class Moments:
    """A diagonal Gaussian over latents [B, c, h, w]; std is None for the plain bottleneck."""

    mean: Tensor
    std: Tensor | None

    def mode(self) -> Tensor:
        """The most likely latent: the mean."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise; the mean itself where the bottleneck is plain."""
        return self.mean if self.std is None else self.mean + self.std * noise


class Middle(nn.Module):
    """ResBlock, optional attention with one head, ResBlock."""

    def __init__(self, channels: int, *, attention: bool, dropout: float):
        super().__init__()
        self.block_in = ResBlock(channels, channels, dropout=dropout)
        self.attention = Attention(channels) if attention else nn.Identity()
        self.block_out = ResBlock(channels, channels, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_out(self.attention(self.block_in(x)))
        return out


def _level(in_channels: int, out_channels: int, blocks: int, dropout: float) -> nn.Sequential:
    widths = [in_channels] + [out_channels] * blocks
    return nn.Sequential(*(ResBlock(a, b, dropout=dropout) for a, b in pairwise(widths)))


class Encoder(nn.Module):
    """E: image [B, 3, H, W] in [-1, 1] -> Moments of [B, c, H/f, W/f]. Raises InputError unless f divides H and W."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        out_channels = config.latent_channels * (2 if config.bottleneck == "kl" else 1)
        self.factor = config.factor
        self.gaussian = config.bottleneck == "kl"
        self.unshuffle = nn.PixelUnshuffle(config.patch)
        self.conv_in = conv3(3 * config.patch**2, config.channels)
        self.levels = nn.ModuleList(
            _level(a, b, config.blocks, config.dropout) for a, b in zip([config.channels, *widths], widths)
        )
        self.downs = nn.ModuleList(Down(width) for width in widths[:-1])
        self.middle = Middle(widths[-1], attention=config.mid_attention, dropout=config.dropout)
        self.norm_out = norm(widths[-1])
        self.conv_out = conv3(widths[-1], out_channels)
        self.to_moments = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Moments:
        if x.shape[-2] % self.factor or x.shape[-1] % self.factor:
            raise InputError(
                f"The encoder makes images {self.factor} times smaller, so sides must be multiples of {self.factor}, "
                f"found {tuple(x.shape[-2:])}; pad the image."
            )
        h = self.conv_in(self.unshuffle(x))
        for i, level in enumerate(self.levels):
            h = level(h)
            if i < len(self.downs):
                h = self.downs[i](h)
        h = self.to_moments(self.conv_out(F.silu(self.norm_out(self.middle(h)))))
        if not self.gaussian:
            return Moments(h, None)
        mean, log_variance = h.chunk(2, dim=1)
        return Moments(mean, (0.5 * log_variance.clamp(-30, 20)).exp())


class SymmetricDecoder(nn.Module):
    """The mirror of the encoder up to its last features: z [B, c, h, w] -> [B, channels * multipliers[0], h', w'].

    upsample True: h' = f h / patch. False: h' = h, the same layers without up-sampling (D_phi, method.md 1.1).
    """

    def __init__(self, config: AutoencoderConfig, *, upsample: bool):
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        self.from_latent = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.conv_in = conv3(config.latent_channels, widths[0])
        self.middle = Middle(widths[0], attention=config.mid_attention, dropout=config.dropout)
        self.levels = nn.ModuleList(
            _level(a, b, config.blocks + 1, config.dropout) for a, b in zip([widths[0], *widths], widths)
        )
        self.ups = nn.ModuleList(Up(width) for width in widths[:-1]) if upsample else nn.ModuleList()
        self.out_channels = widths[-1]

    def forward(self, z: Tensor) -> Tensor:
        h: Tensor = self.middle(self.conv_in(self.from_latent(z)))
        for i, level in enumerate(self.levels):
            h = level(h)
            if i < len(self.ups):
                h = self.ups[i](h)
        return h

    def shared_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Name and value of everything but the up-sampling layers: what both forms of the decoder have."""
        return ((name, value) for name, value in self.state_dict().items() if not name.startswith("ups."))


class Autoencoder(nn.Module):
    """Encoder and up-sampling decoder, trained on plain reconstruction."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = SymmetricDecoder(config, upsample=True)
        self.norm_out = norm(self.decoder.out_channels)
        self.conv_out = conv3(self.decoder.out_channels, 3 * config.patch**2)
        self.shuffle = nn.PixelShuffle(config.patch)

    def encode(self, x: Tensor) -> Moments:
        """Image [B, 3, H, W] in [-1, 1] -> Moments [B, c, H/f, W/f]."""
        moments: Moments = self.encoder(x)
        return moments

    def decode(self, z: Tensor) -> Tensor:
        """Latent [B, c, h, w] -> image [B, 3, f h, f w], nominally in [-1, 1], not clamped."""
        image: Tensor = self.shuffle(self.conv_out(F.silu(self.norm_out(self.decoder(z)))))
        return image

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of x from the mode of its latent."""
        return self.decode(self.encode(x).mode())
