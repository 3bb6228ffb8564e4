"""Convolutional blocks that several networks share; those of the autoencoder and the U-Net have LDM's shapes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def norm(channels: int) -> nn.GroupNorm:
    """Group norm with 32 groups, or for narrow layers the most groups that hold at least 4 channels each.

    A group of one channel would subtract the time embedding, which is one number a channel, right after it is added.
    """
    groups = max(n for n in range(1, min(32, max(channels // 4, 1)) + 1) if channels % n == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


def conv3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights and bias set to zero, so that a residual branch starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResBlock(nn.Module):
    """norm-SiLU-conv twice, around a residual. With `embedding` channels, a projected time embedding is added between.

    forward: x [B, in, H, W], emb [B, embedding] or None -> [B, out, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, *, embedding: int | None = None, dropout: float = 0.0):
        super().__init__()
        self.norm_in = norm(in_channels)
        self.conv_in = conv3(in_channels, out_channels)
        self.project = None if embedding is None else nn.Linear(embedding, out_channels)
        self.norm_out = norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zeroed(conv3(out_channels, out_channels))
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h: Tensor = self.conv_in(F.silu(self.norm_in(x)))
        if self.project is not None and emb is not None:
            h = h + self.project(F.silu(emb))[:, :, None, None]
        h = self.conv_out(self.dropout(F.silu(self.norm_out(h))))
        skip: Tensor = self.skip(x)
        return skip + h


class ResidualConvs(nn.Module):
    """EDSR's block (Lim et al. 2017): conv-ReLU-conv around a residual, the branch multiplied by `scale`."""

    def __init__(self, channels: int, scale: float = 1.0):
        super().__init__()
        self.body = nn.Sequential(conv3(channels, channels), nn.ReLU(), conv3(channels, channels))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.scale * self.body(x)
        return out


class Attention(nn.Module):
    """Self-attention over all pixels around a residual; heads of `head_channels` (None: one head).

    forward: [B, C, H, W] -> [B, C, H, W].
    """

    def __init__(self, channels: int, head_channels: int | None = None):
        super().__init__()
        self.heads = channels // (head_channels or channels)
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv: Tensor = self.qkv(self.norm(x))
        q, k, v = qkv.reshape(b, 3, self.heads, c // self.heads, h * w).transpose(-1, -2).unbind(1)
        attended = F.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.out(attended.transpose(-1, -2).reshape(b, c, h, w))
        return x + mixed


class Down(nn.Module):
    """Halve the size: a strided 3x3 convolution padded on the right and bottom only. Even sides only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Up(nn.Module):
    """Double the size: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out
