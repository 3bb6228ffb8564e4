"""Tiny comparators of every kind, each with every part that the published one has."""

from __future__ import annotations

from lsr.models.baselines.config import (
    BaselineConfig,
    EdsrConfig,
    EsrganConfig,
    IdmConfig,
    LiifConfig,
    PixelUNetConfig,
    Sr3Config,
)
from lsr.models.config import DiffusionConfig, RendererConfig

UNET = PixelUNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_factors=(2,), dropout=0.0)
DIFFUSION = DiffusionConfig(steps=100, schedule="linear", beta_start=1e-4, beta_end=0.1)

TINY: dict[str, BaselineConfig] = {
    "edsr": EdsrConfig(channels=8, blocks=1, factor=2),
    "liif": LiifConfig(channels=8, blocks=1, renderer=RendererConfig(hidden=(16, 16))),
    "sr3": Sr3Config(unet=UNET, diffusion=DIFFUSION),
    "idm": IdmConfig(unet=UNET, diffusion=DIFFUSION, largest=2.0, encoder_channels=8, encoder_blocks=1, hidden=16),
    "esrgan": EsrganConfig(channels=8, blocks=1, growth=4, factor=2, critic_channels=8, critic_stages=2),
}
