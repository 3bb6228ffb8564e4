"""SR3 (Saharia et al. 2021) as in its common port: diffusion in pixels (method.md 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsr.diffusion.schedule import Schedule
from lsr.models.baselines.config import Sr3Config
from lsr.models.baselines.pixel_unet import PixelUNet, orthogonal
from lsr.nn.blocks import Up
from lsr.nn.pad import pad_to_multiple
from lsr.nn.resize import resize


class Sr3(nn.Module):
    """Noise prediction from a noisy image, its noise level and the bicubic enlargement of LR. Images in [-1, 1]."""

    def __init__(self, config: Sr3Config):
        super().__init__()
        self.config = config
        self.unet = PixelUNet(config.unet)
        self.up = nn.ModuleList(Up(width) for width in config.unet.widths[1:])
        diffusion = config.diffusion
        self.schedule = Schedule(diffusion.schedule, diffusion.steps, diffusion.beta_start, diffusion.beta_end)
        orthogonal(self)

    def condition(self, lr: Tensor, size: tuple[int, int]) -> Tensor:
        """LR [B, 3, h, w] as the image [B, 3, *size] that every step sees: bicubic, within [-1, 1]."""
        return resize(lr, size, "bicubic").clamp(-1, 1)

    def forward(self, x_t: Tensor, level: Tensor, condition: Tensor) -> Tensor:
        """x_t [B, 3, H, W] of any size, level = sqrt(abar) [B], condition [B, 3, H, W] -> [B, 3, H, W].

        Sides that the U-Net's factor does not divide are padded by their edge and cropped back.
        """
        height, width = x_t.shape[-2:]
        padded = pad_to_multiple(torch.cat([condition, x_t], dim=1), self.config.unet.factor)
        out: Tensor = self.unet(padded, level, lambda number, h, size: self.up[number - 1](h))
        return out[..., :height, :width]
