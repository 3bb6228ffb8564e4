"""The comparators' architectures as data, at their published sizes by default; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt

from lsr.core.config import BelowOne, Config, Positive
from lsr.models.config import DiffusionConfig, Multipliers, RendererConfig, Width

Factor = Literal[2, 3, 4, 8, 16]

# SR3's and IDM's forward process: betas truly linear from 1e-6 to 1e-2 over 2000 steps (method.md 4).
PIXEL_DIFFUSION = DiffusionConfig(steps=2000, schedule="linear", beta_start=1e-6, beta_end=1e-2)


@dataclass(frozen=True, kw_only=True, slots=True)
class EdsrConfig(Config):
    """EDSR-baseline (Lim et al. 2017)."""

    kind: Literal["edsr"] = "edsr"
    """Which comparator."""
    channels: Positive = 64
    """Width of the body."""
    blocks: Positive = 16
    """Residual blocks of the body."""
    factor: Factor = 4
    """The one scale it is built for."""
    residual_scale: float = 1.0
    """What a block's branch is multiplied by (0.1 in the large EDSR)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiifConfig(Config):
    """LIIF (Chen et al. 2021) on the body of EDSR-baseline."""

    kind: Literal["liif"] = "liif"
    """Which comparator."""
    channels: Positive = 64
    """Width of the body."""
    blocks: Positive = 16
    """Residual blocks of the body."""
    unfold: bool = True
    """A feature is its 3 x 3 neighbourhood."""
    renderer: RendererConfig = RendererConfig()
    """The MLP of 5 layers, local ensemble, cell decoding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelUNetConfig(Config):
    """The U-Net of SR3's port, which IDM shares (method.md 4). The middle always attends, with one head."""

    channels: Width = 64
    """Width at the image's resolution."""
    multipliers: Multipliers = (1, 2, 4, 8, 8)
    """Width factor per level."""
    blocks: Positive = 2
    """Residual blocks per level."""
    attention_factors: tuple[Positive, ...] = (8,)
    """Down-sampling factors: the nominal 16 pixels of a 128-pixel image are factor 8."""
    dropout: BelowOne = 0.2
    """In residual blocks."""

    @property
    def factor(self) -> int:
        """Side of an image / side of the coarsest feature map."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    def faults(self) -> list[str]:
        reached = [2**i for i in range(len(self.multipliers))]
        lost = [f for f in self.attention_factors if f not in reached]
        return [f"attention_factors {lost} are never reached; this U-Net has factors {reached}."] if lost else []


@dataclass(frozen=True, kw_only=True, slots=True)
class Sr3Config(Config):
    """SR3 (Saharia et al. 2021): diffusion in pixels under the bicubic enlargement of LR, one scale."""

    kind: Literal["sr3"] = "sr3"
    """Which comparator."""
    unet: PixelUNetConfig = PixelUNetConfig()
    """The denoiser."""
    diffusion: DiffusionConfig = PIXEL_DIFFUSION
    """Its forward process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IdmConfig(Config):
    """IDM (Gao et al. 2023)."""

    kind: Literal["idm"] = "idm"
    """Which comparator."""
    unet: PixelUNetConfig = PixelUNetConfig()
    """The denoiser."""
    diffusion: DiffusionConfig = PIXEL_DIFFUSION
    """Its forward process."""
    largest: Annotated[float, Gt(1)] = 8.0
    """M, the largest scale of training."""
    encoder_channels: Positive = 64
    """Width of the EDSR that makes the condition."""
    encoder_blocks: Positive = 16
    """Its residual blocks."""
    hidden: Positive = 256
    """Width of the implicit up-sampling."""
    cell_decoding: bool = False
    """Feed the cell; off as published but for DIV2K."""
    published_cell: bool = False
    """Feed what the published code feeds in its place (method.md, gotcha 3)."""
    clamp_scale: bool = True
    """Keep p = (s - 1) / (M - 1) within the trained [0, 1]; false lets it run beyond 1 as the published code does
    (gotcha 16)."""

    def faults(self) -> list[str]:
        if self.published_cell and not self.cell_decoding:
            return ["published_cell says what cell_decoding feeds, so cell_decoding must be true as well."]
        return []


@dataclass(frozen=True, kw_only=True, slots=True)
class EsrganConfig(Config):
    """ESRGAN (Wang et al. 2018): the RRDB generator and the discriminator it is trained against."""

    kind: Literal["esrgan"] = "esrgan"
    """Which comparator."""
    channels: Positive = 64
    """Width of the generator."""
    blocks: Positive = 23
    """Residual-in-residual dense blocks."""
    growth: Positive = 32
    """Channels that a dense layer adds."""
    factor: Literal[2, 4, 8, 16] = 4
    """The one scale it is built for."""
    critic_channels: Positive = 64
    """Width of the discriminator's first layer."""
    critic_stages: Positive = 5
    """How often the discriminator halves the image."""


BaselineConfig = EdsrConfig | LiifConfig | Sr3Config | IdmConfig | EsrganConfig
