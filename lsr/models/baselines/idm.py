"""IDM (Gao et al. 2023): diffusion in pixels at the size of the output (method.md 4).

An EDSR makes a condition image at the output's size; a pyramid of its features is mixed into the U-Net's decoder by
two vectors that follow from the scale, and the decoder enlarges by an implicit function. Any size and aspect ratio:
every map follows the output's size. What does not change from step to step, the condition and its pyramid, is made
once an image (`guide`), where the published code makes the pyramid in every step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.diffusion.schedule import Schedule
from lsr.models.baselines.config import IdmConfig
from lsr.models.baselines.edsr import EdsrBody
from lsr.models.baselines.pixel_unet import PixelUNet, orthogonal
from lsr.models.renderer import neighbours
from lsr.nn.blocks import conv3
from lsr.nn.coords import feature_positions
from lsr.nn.resize import resize
from lsr.nn.select import select

_EPSILON = 1e-8


class EqualConv(nn.Module):
    """A 3x3 convolution whose standard normal weights are divided by sqrt(fan-in) at run time (StyleGAN2)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.stride, self.gain = stride, 1 / math.sqrt(9 * in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, stride=self.stride, padding=1)


class BiasedLeaky(nn.Module):
    """sqrt(2) LeakyReLU_0.2(x + bias), a bias a channel: StyleGAN2's fused activation."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], 0.2) * math.sqrt(2)


def smooth(x: Tensor) -> Tensor:
    """The low-pass filter (1, 3, 1) / 5 along both axes, zero outside: [B, C, H, W] -> [B, C, H, W]."""
    taps = torch.tensor([0.2, 0.6, 0.2], dtype=x.dtype, device=x.device)
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


class Reduce(nn.Module):
    """One step of the pyramid (Eq 4): low-pass, strided convolution, leaky ReLU; n pixels become ceil(n / 2)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = EqualConv(in_channels, out_channels, stride=2)
        self.activation = BiasedLeaky(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.conv(smooth(x)))
        return out


class ScaleVector(nn.Module):
    """p [B] -> [B, channels], one equalised linear layer whose bias starts at 1."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, p: Tensor) -> Tensor:
        return p[:, None] * self.weight + self.bias


class ImplicitUp(nn.Module):
    """Modulation by scale, then enlargement by an implicit function (Eq 5-8), for one level of the decoder.

    h = a1 u + a2 f with (a1, a2) of unit length a channel; leaky ReLU; then for every pixel of the output the MLP
    Linear-Linear, no activation between, on [nearest feature, relative coordinate (, relative cell)]. Coordinates and
    cells are counted as LIIF does, times the map's sides; ties between two features go to the right one.
    """

    def __init__(self, channels: int, config: IdmConfig):
        super().__init__()
        self.channels, self.config = channels, config
        self.first_vector, self.second_vector = ScaleVector(channels), ScaleVector(channels)
        self.activation = BiasedLeaky(channels)
        self.first = nn.Linear(channels + (4 if config.cell_decoding else 2), config.hidden)
        self.second = nn.Linear(config.hidden, channels)

    def vectors(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """a1, a2 [B, C, 1, 1] of scale p [B], a1^2 + a2^2 = 1."""
        one, two = self.first_vector(p), self.second_vector(p)
        length = torch.rsqrt(one.square() + two.square() + _EPSILON)
        return (one * length)[:, :, None, None], (two * length)[:, :, None, None]

    def forward(self, u: Tensor, size: tuple[int, int], p: Tensor, feature: Tensor) -> Tensor:
        """u, feature [B, C, h, w], p [B] -> [B, C, *size]."""
        one, two = self.vectors(p)
        mixed: Tensor = self.activation(one * u + two * feature)
        return self.enlarge(mixed, size)

    def enlarge(self, h: Tensor, size: tuple[int, int]) -> Tensor:
        """The implicit function alone. Both layers are affine, so their part for the features is applied before these
        are repeated, and their part for the place once an axis: the same function for less work.
        """
        (y,) = neighbours(feature_positions(size[0], h.shape[-2]), h.shape[-2], ensemble=False, like=h)
        (x,) = neighbours(feature_positions(size[1], h.shape[-1]), h.shape[-1], ensemble=False, like=h)
        at, place = self.first.weight[:, : self.channels], self.second.weight @ self.first.weight[:, self.channels :]
        constant = self.second(self.first.bias)
        features = F.linear(F.linear(h.permute(0, 2, 3, 1), at), self.second.weight)
        out: Tensor = select(select(features, 1, y.index), 2, x.index)
        out = out + (y.offset[:, None] * place[:, 0])[:, None] + x.offset[:, None] * place[:, 1] + constant
        if self.config.cell_decoding:
            out = out + self._cell(size, (h.shape[-2], h.shape[-1]), like=h) @ place[:, 2:].T
        return out.permute(0, 3, 1, 2)

    def _cell(self, size: tuple[int, int], features: tuple[int, int], like: Tensor) -> Tensor:
        """The relative cell (y, x) of every pixel, [1, 1, 2], or [*size, 2] as the published code has it.

        That code scales the first two pixels where it means the two axes, so all others have the cell (1, 1).
        """
        sides = like.new_tensor(features)
        if not self.config.published_cell:
            return (2 * sides / like.new_tensor(size))[None, None]
        cell = like.new_ones(size[0] * size[1], 2)
        for query in range(min(2, len(cell))):
            cell[query] *= 2 / size[query]
        return (cell * sides).reshape(*size, 2)


class Guide(NamedTuple):
    """What steers every step of one batch. image: the condition [B, 3, H, W]. features: of levels 1, 2, ... of the
    U-Net, [B, C, h, w]. p: [B].
    """

    image: Tensor
    features: list[Tensor]
    p: Tensor


class Idm(nn.Module):
    """Noise prediction at any size, steered by LR and by the scale. Images in [-1, 1]."""

    def __init__(self, config: IdmConfig):
        super().__init__()
        self.config = config
        widths = config.unet.widths
        self.encoder = EdsrBody(config.encoder_channels, config.encoder_blocks)
        self.encoder_out = conv3(config.encoder_channels, 3)
        self.unet = PixelUNet(config.unet)
        self.pyramid_in = nn.Sequential(EqualConv(3, config.unet.channels), BiasedLeaky(config.unet.channels))
        before = (config.unet.channels, *widths)
        self.pyramid = nn.ModuleList(Reduce(before[i], before[i + 1]) for i in range(len(widths) - 1))
        self.shifts = nn.ModuleList(EqualConv(widths[i], widths[i + 1], bias=True) for i in range(len(widths) - 1))
        self.up = nn.ModuleList(ImplicitUp(width, config) for width in widths[1:])
        diffusion = config.diffusion
        self.schedule = Schedule(diffusion.schedule, diffusion.steps, diffusion.beta_start, diffusion.beta_end)
        orthogonal(self)

    def position_of(self, lr: tuple[int, int], size: tuple[int, int]) -> float:
        """p = (s - 1) / (M - 1) of scale s, the geometric mean of both axes' scales; within [0, 1] if clamp_scale."""
        scale = math.sqrt(size[0] / lr[0] * size[1] / lr[1])
        p = (scale - 1) / (self.config.largest - 1)
        return min(max(p, 0.0), 1.0) if self.config.clamp_scale else p

    def guide(self, lr: Tensor, size: tuple[int, int], p: float | None = None) -> Guide:
        """LR [B, 3, h, w] -> what steers the steps at `size`; p follows from both sizes unless it is given."""
        p = self.position_of((lr.shape[-2], lr.shape[-1]), size) if p is None else p
        image = self.encoder_out(resize(self.encoder(lr), size, "nearest"))
        h, features = self.pyramid_in(image), []
        for reduce, shift in zip(self.pyramid, self.shifts):
            h = reduce(h)
            features.append(shift(h))
        return Guide(image, features, lr.new_full((len(lr),), p))

    def forward(self, x_t: Tensor, level: Tensor, guide: Guide) -> Tensor:
        """x_t [B, 3, H, W], level = sqrt(abar) [B] -> [B, 3, H, W]."""

        def lift(number: int, h: Tensor, size: tuple[int, int]) -> Tensor:
            out: Tensor = self.up[number - 1](h, size, guide.p, guide.features[number - 1])
            return out

        out: Tensor = self.unet(torch.cat([guide.image, x_t], dim=1), level, lift)
        return out
