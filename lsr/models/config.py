"""Architectures as data. Everything needed to build a model without its weights; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf

from lsr.core.config import BelowOne, Config, Positive
from lsr.diffusion.config import SamplerConfig

DISCRIMINATOR = "discriminator"
"""Under this name a discriminator trains inside a stage's model; weights below it belong to no system."""

# Group norm splits channels into groups of 8 or into 8 groups.
Width = Annotated[int, Ge(8), MultipleOf(8)]
Multipliers = Annotated[tuple[Positive, ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig(Config):
    """The convolutional autoencoder (System A 1.2, LDM encoder shape)."""

    patch: Positive = 1
    """Each patch x patch square of pixels becomes one position of the first level (pixel unshuffle), and back; 1 as
    published. Every convolution then costs patch^2 times less."""
    channels: Width = 128
    """Width of the first level."""
    multipliers: Multipliers = (1, 2, 4)
    """Width factor per level; the down-sampling factor is f = patch * 2^(levels-1)."""
    blocks: Positive = 2
    """Residual blocks per level."""
    latent_channels: Positive = 3
    """Channels of z."""
    bottleneck: Literal["plain", "kl"] = "plain"
    """`kl` is a diagonal Gaussian."""
    mid_attention: bool = True
    """Self-attention in the middle block."""
    dropout: BelowOne = 0.0
    """In residual blocks."""

    @property
    def factor(self) -> int:
        """Down-sampling factor f: an H x W image has an H/f x W/f latent."""
        return int(self.patch * 2 ** (len(self.multipliers) - 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class RendererConfig(Config):
    """f_theta, the renderer."""

    kind: Literal["liif", "conv", "shuffle"] = "liif"
    """`liif`, a perceptron per query (System A 1.3); `conv`, INFD's small convolutional renderer (6); `shuffle`,
    sub-pixel convolution to `factor` times the features' size (Shi et al. 2016), resized to any output."""
    hidden: Annotated[tuple[Positive, ...], MinLen(1)] = (256, 256, 256, 256)
    """Of `liif`: widths of the perceptron's layers."""
    local_ensemble: bool = True
    """Of `liif`: blend four corners by diagonally swapped areas."""
    cell_decoding: bool = True
    """Of `liif` and `conv`: feed the relative pixel size."""
    channels: Positive = 256
    """Of `conv`: width of its convolutions."""
    factor: Positive = 4
    """Of `shuffle`: side of the image it makes / side of the features."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyConfig(Config):
    """EDSR's residual body (Lim et al. 2017) on the LR image's own pixels, joined by D_phi's features of the latent."""

    channels: Width = 32
    """Its width, and that of the features it hands to the renderer."""
    blocks: Positive = 10
    """Residual blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig(Config):
    """The diffusion U-Net (System A 1.4). The middle block always attends."""

    channels: Width = 160
    """Width at the latent's resolution."""
    multipliers: Multipliers = (1, 2, 2, 4)
    """Width factor per level."""
    blocks: Positive = 2
    """Residual blocks per level."""
    attention_factors: tuple[Positive, ...] = (8, 4)
    """Down-sampling FACTORS, not sizes: (4, 2) attends at 1/4 and 1/2 of the latent's resolution."""
    head_channels: Positive = 32
    """Channels per attention head."""
    dropout: BelowOne = 0.0
    """In residual blocks."""

    @property
    def factor(self) -> int:
        """Latent sides must be multiples of this; the system pads and crops back."""
        return int(2 ** (len(self.multipliers) - 1))

    def faults(self) -> list[str]:
        out = []
        reached = [2**i for i in range(len(self.multipliers))]
        lost = [f for f in self.attention_factors if f not in reached]
        if lost:
            out.append(f"attention_factors {lost} are never reached; this U-Net has factors {reached}.")
        attended = [m for f, m in zip(reached, self.multipliers) if f in self.attention_factors]
        if odd := [m for m in (*attended, self.multipliers[-1]) if self.channels * m % self.head_channels]:
            out.append(
                f"head_channels must divide the width wherever the U-Net attends, found {self.head_channels} and "
                f"{self.channels * odd[0]}."
            )
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig(Config):
    """The patch discriminator (PatchGAN, Isola et al. 2017) of the adversarial loss; part of no trained system."""

    channels: Annotated[int, Ge(4), MultipleOf(4)] = 64
    """Width after the first convolution, at most 8 times that later."""
    layers: Annotated[int, Ge(1), Le(6)] = 3
    """How often it halves the image; 3 judges patches of 70 x 70 pixels."""

    @property
    def min_side(self) -> int:
        """Side in pixels of the smallest image that gives one verdict."""
        return int(3 * 2**self.layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionConfig(Config):
    """The forward process."""

    steps: Annotated[int, Ge(2)] = 1000
    """T, the number of noise levels."""
    schedule: Literal["sqrt-linear", "linear", "cosine"] = "sqrt-linear"
    """`sqrt-linear` is LDM's "linear" (linear in sqrt(beta)); `linear` is DDPM's."""
    beta_start: Annotated[float, Gt(0), Lt(1)] = 0.0015
    """Beta of the first noise level; `cosine` has its own."""
    beta_end: Annotated[float, Gt(0), Lt(1)] = 0.0155
    """Beta of the last noise level."""
    prediction: Literal["eps", "x0", "v"] = "eps"
    """What the network returns."""
    shift: bool = False
    """Residual shifting (ResShift, Yue et al. 2023, Eq 1): the mean of x_t moves from the latent at the first noise
    level to the LR condition at the last, so that sampling starts from the noised LR image."""
    zero_terminal: bool = False
    """Rescale so that the last timestep is pure noise (Lin et al. 2024, Algorithm 1), where noise prediction says
    nothing about the image."""

    def faults(self) -> list[str]:
        out = []
        if self.zero_terminal and self.prediction == "eps":
            out.append("zero_terminal needs prediction x0 or v: at its last timestep x_t is the noise, found eps.")
        if self.shift and self.prediction != "x0":
            out.append(f"shift needs prediction x0: its x_t is no mixture of image and noise, found {self.prediction}.")
        if self.shift and self.zero_terminal:
            out.append("shift starts from the noised LR image, which zero_terminal would hide; choose one.")
        if self.beta_start > self.beta_end:
            out.append(f"betas must satisfy start <= end, found {self.beta_start} and {self.beta_end}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemConfig(Config):
    """A whole LSR model, enough to rebuild it from its weights."""

    autoencoder: AutoencoderConfig
    """The first stage."""
    renderer: RendererConfig
    """The last part of the neural decoder."""
    unet: UNetConfig
    """The denoiser."""
    diffusion: DiffusionConfig
    """Its forward process."""
    conditional: bool = True
    """The U-Net sees the LR latent (super-resolution) or nothing (generation)."""
    base_scale: Positive = 4
    """LR images are brought to base_scale times their size (by `condition_upsample`) before the encoder."""
    condition_upsample: Literal["nearest", "bilinear", "bicubic"] = "nearest"
    """How."""
    latent_side: Positive = 32
    """Side in latent pixels that the U-Net was trained on."""
    residual: bool = False
    """The decoder renders what is to be added to the bicubic enlargement of the LR image, not the image itself."""
    sampler: SamplerConfig = SamplerConfig()
    """How images are drawn where a request does not say it: as the version was evaluated."""
    body: BodyConfig | None = None
    """The decoder sees the LR image's own pixels through this body; null decodes the latent alone, as published."""

    def faults(self) -> list[str]:
        out = []
        if self.residual and not self.conditional:
            out.append("residual adds to the LR image, which generation (conditional false) has not.")
        if self.diffusion.shift and not self.conditional:
            out.append("diffusion.shift starts from the LR image, which generation (conditional false) has not.")
        if self.body is not None and not self.residual:
            out.append("body sees the LR image, which only a residual decoder is given; set residual.")
        if self.body is not None and self.base_scale != self.autoencoder.factor:
            out.append(
                "body needs one latent position per LR pixel: the autoencoder's factor must equal base_scale "
                f"{self.base_scale}, found {self.autoencoder.factor}."
            )
        return out
