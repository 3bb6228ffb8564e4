"""ESRGAN (Wang et al. 2018): the RRDB generator and its discriminator.

The generator is that of the public x4 weights (Real-ESRGAN's x4plus too), layer for layer. The discriminator is theirs
in width and depth, with group norm in place of batch norm, whose statistics would tie the samples of a micro-batch
together, and with 1 x 1 convolutions in place of the linear layers: one verdict a patch, any size of image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.models.baselines.config import EsrganConfig
from lsr.nn.blocks import conv3, norm

_BRANCH = 0.2
_SLOPE = 0.2
_LAYERS = 5
_START = 0.1
_WIDEST = 8


class DenseBlock(nn.Module):
    """Five convolutions, each on everything before it; the last one's output, times 0.2, is added to the input."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        outputs = [growth] * (_LAYERS - 1) + [channels]
        self.convs = nn.ModuleList(conv3(channels + i * growth, out) for i, out in enumerate(outputs))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for conv in list(self.convs)[:-1]:
            seen.append(F.leaky_relu(conv(torch.cat(seen, dim=1)), _SLOPE))
        out: Tensor = x + _BRANCH * self.convs[-1](torch.cat(seen, dim=1))
        return out


class Rrdb(nn.Module):
    """Residual in residual: three dense blocks, their change times 0.2 added to the input."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.dense = nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + _BRANCH * self.dense(x)
        return out


class Generator(nn.Module):
    """LR [B, 3, h, w] in [-1, 1] -> [B, 3, factor h, factor w], nominally in [-1, 1], not clamped.

    Inside, images are in [0, 1], as the public weights have them.
    """

    def __init__(self, config: EsrganConfig):
        super().__init__()
        self.config = config
        self.conv_in = conv3(3, config.channels)
        self.body = nn.Sequential(*(Rrdb(config.channels, config.growth) for _ in range(config.blocks)))
        self.conv_body = conv3(config.channels, config.channels)
        doublings = config.factor.bit_length() - 1
        self.up = nn.ModuleList(conv3(config.channels, config.channels) for _ in range(doublings))
        self.conv_high = conv3(config.channels, config.channels)
        self.conv_out = conv3(config.channels, 3)
        self._start()

    def _start(self) -> None:
        """Small weights, a tenth of He's: ESRGAN Sec 3.1, which keeps so deep a network stable."""
        for name, layer in self.body.named_modules():
            if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
                nn.init.kaiming_normal_(layer.weight)
                with torch.no_grad():
                    layer.weight.mul_(_START)
                assert layer.bias is not None, name
                nn.init.zeros_(layer.bias)

    def forward(self, lr: Tensor) -> Tensor:
        h = self.conv_in((lr + 1) / 2)
        h = h + self.conv_body(self.body(h))
        for conv in self.up:
            h = F.leaky_relu(conv(F.interpolate(h, scale_factor=2.0, mode="nearest")), _SLOPE)
        out: Tensor = self.conv_out(F.leaky_relu(self.conv_high(h), _SLOPE))
        return out * 2 - 1


class Discriminator(nn.Module):
    """Image [B, 3, H, W] in [-1, 1] -> one logit a patch, [B, 1, h, w]; h = ceil(H / 2^stages)."""

    def __init__(self, config: EsrganConfig):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage in range(config.critic_stages):
            width = config.critic_channels * min(2**stage, _WIDEST)
            layers += [conv3(before, width), *([norm(width)] if stage else []), nn.LeakyReLU(_SLOPE)]
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), norm(width), nn.LeakyReLU(_SLOPE)]
            before = width
        self.layers = nn.Sequential(*layers)
        # Only differences of logits count, so the last layer has no bias.
        last = nn.Conv2d(before, 1, 1, bias=False)
        self.verdict = nn.Sequential(nn.Conv2d(before, before, 1), nn.LeakyReLU(_SLOPE), last)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.verdict(self.layers(x))
        return out


class Adversaries(nn.Module):
    """What ESRGAN's training changes: generator and discriminator. Its product is the generator."""

    def __init__(self, generator: Generator, discriminator: Discriminator):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
