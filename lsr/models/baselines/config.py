"""The comparators' architectures as data, at their published sizes by default; no torch here.

`kind` names the comparator in plain data. It is made by a factory and not by a class default, so that it always enters
action keys: two comparators at their defaults are never one key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lsr.models.config import DiffusionConfig, RendererConfig

FACTORS = (2, 3, 4, 8, 16)


def _edsr() -> Literal["edsr"]:
    return "edsr"


def _liif() -> Literal["liif"]:
    return "liif"


def _sr3() -> Literal["sr3"]:
    return "sr3"


def _idm() -> Literal["idm"]:
    return "idm"


def _esrgan() -> Literal["esrgan"]:
    return "esrgan"


def _pixel_diffusion() -> DiffusionConfig:
    """SR3's and IDM's forward process: betas truly linear from 1e-6 to 1e-2 over 2000 steps (method.md 4)."""
    return DiffusionConfig(steps=2000, schedule="linear", beta_start=1e-6, beta_end=1e-2)


def _positive(config: object, *names: str) -> list[str]:
    return [f"{n} must be at least 1, found {getattr(config, n)}." for n in names if getattr(config, n) < 1]


def _factor_faults(factor: int) -> list[str]:
    return [] if factor in FACTORS else [f"factor must be one of {', '.join(map(str, FACTORS))}, found {factor}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class EdsrConfig:
    """EDSR-baseline (Lim et al. 2017). channels, blocks: width and residual blocks of the body. factor: the one scale
    it is built for. residual_scale: what a block's branch is multiplied by (0.1 in the large EDSR).
    """

    kind: Literal["edsr"] = field(default_factory=_edsr)
    channels: int = 64
    blocks: int = 16
    factor: int = 4
    residual_scale: float = 1.0

    def faults(self) -> list[str]:
        return _positive(self, "channels", "blocks") + _factor_faults(self.factor)


@dataclass(frozen=True, kw_only=True, slots=True)
class LiifConfig:
    """LIIF (Chen et al. 2021) on the body of EDSR-baseline. unfold: a feature is its 3 x 3 neighbourhood. renderer:
    the MLP of 5 layers, local ensemble, cell decoding.
    """

    kind: Literal["liif"] = field(default_factory=_liif)
    channels: int = 64
    blocks: int = 16
    unfold: bool = True
    renderer: RendererConfig = field(default_factory=RendererConfig)

    def faults(self) -> list[str]:
        return _positive(self, "channels", "blocks")


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelUNetConfig:
    """The U-Net of SR3's port, which IDM shares (method.md 4). attention_factors are down-sampling factors: the nominal
    16 pixels of a 128-pixel picture are factor 8. The middle always attends, with one head.
    """

    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 8)
    blocks: int = 2
    attention_factors: tuple[int, ...] = (8,)
    dropout: float = 0.2

    @property
    def factor(self) -> int:
        """Side of a picture / side of the coarsest feature map."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    def faults(self) -> list[str]:
        out = _positive(self, "blocks")
        if self.channels < 8 or self.channels % 8:
            out.append(f"channels must be a positive multiple of 8 (group norm), found {self.channels}.")
        if not self.multipliers or min(self.multipliers) < 1:
            out.append(f"multipliers must be positive and not empty, found {self.multipliers}.")
        reached = [2**i for i in range(len(self.multipliers))]
        if lost := [f for f in self.attention_factors if f not in reached]:
            out.append(f"attention_factors {lost} are never reached; this U-Net has factors {reached}.")
        if not 0 <= self.dropout < 1:
            out.append(f"dropout must lie in [0, 1), found {self.dropout}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Sr3Config:
    """SR3 (Saharia et al. 2021): diffusion in pixels under the bicubic enlargement of LR, one scale."""

    kind: Literal["sr3"] = field(default_factory=_sr3)
    unet: PixelUNetConfig = field(default_factory=PixelUNetConfig)
    diffusion: DiffusionConfig = field(default_factory=_pixel_diffusion)


@dataclass(frozen=True, kw_only=True, slots=True)
class IdmConfig:
    """IDM (Gao et al. 2023). largest: M, the largest scale of training. encoder_channels, encoder_blocks: the EDSR that
    makes the condition. hidden: width of the implicit up-sampling.

    cell_decoding: feed the cell, off as published but for DIV2K. published_cell: feed what the published code feeds in
    its place (method.md, gotcha 3). clamp_scale: keep p = (s - 1) / (M - 1) within the trained [0, 1]; False lets it
    run beyond 1 as the published code does (gotcha 16).
    """

    kind: Literal["idm"] = field(default_factory=_idm)
    unet: PixelUNetConfig = field(default_factory=PixelUNetConfig)
    diffusion: DiffusionConfig = field(default_factory=_pixel_diffusion)
    largest: float = 8.0
    encoder_channels: int = 64
    encoder_blocks: int = 16
    hidden: int = 256
    cell_decoding: bool = False
    published_cell: bool = False
    clamp_scale: bool = True

    def faults(self) -> list[str]:
        out = _positive(self, "encoder_channels", "encoder_blocks", "hidden")
        if self.largest <= 1:
            out.append(f"largest must be above 1, found {self.largest}.")
        if self.published_cell and not self.cell_decoding:
            out.append("published_cell says what cell_decoding feeds, so cell_decoding must be true as well.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class EsrganConfig:
    """ESRGAN (Wang et al. 2018): the RRDB generator and the discriminator it is trained against. channels, blocks,
    growth: width, number of residual-in-residual dense blocks, channels a dense layer adds. critic_channels: width of
    the discriminator's first layer. critic_stages: how often the discriminator halves the picture.
    """

    kind: Literal["esrgan"] = field(default_factory=_esrgan)
    channels: int = 64
    blocks: int = 23
    growth: int = 32
    factor: int = 4
    critic_channels: int = 64
    critic_stages: int = 5

    def faults(self) -> list[str]:
        out = _positive(self, "channels", "blocks", "growth", "critic_channels", "critic_stages")
        if self.factor not in (2, 4, 8, 16):
            out.append(f"factor must be one of 2, 4, 8, 16, found {self.factor}.")
        return out


BaselineConfig = EdsrConfig | LiifConfig | Sr3Config | IdmConfig | EsrganConfig
