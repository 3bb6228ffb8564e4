"""Architectures as data. Everything needed to build a model without its weights; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DISCRIMINATOR = "discriminator"
"""Under this name a discriminator trains inside a stage's model; weights below it belong to no system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig:
    """The convolutional autoencoder (System A 1.2, LDM encoder shape).

    channels: width at full resolution. multipliers: width factor a level; the down-sampling factor is
    f = 2^(levels-1). blocks: residual blocks a level. latent_channels: channels of z. bottleneck: `plain` or `kl`
    (diagonal Gaussian). mid_attention: self-attention in the middle block. dropout: in residual blocks.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4)
    blocks: int = 2
    latent_channels: int = 3
    bottleneck: Literal["plain", "kl"] = "plain"
    mid_attention: bool = True
    dropout: float = 0.0

    @property
    def factor(self) -> int:
        """Down-sampling factor f: an H x W image has an H/f x W/f latent."""
        return int(2 ** (len(self.multipliers) - 1))

    def faults(self) -> list[str]:
        out = []
        if not self.multipliers or min(self.multipliers) < 1:
            out.append(f"multipliers must be positive and not empty, found {self.multipliers}.")
        if self.channels < 8 or self.channels % 8:
            out.append(f"channels must be a positive multiple of 8 (group norm), found {self.channels}.")
        if self.blocks < 1 or self.latent_channels < 1:
            out.append(
                f"blocks and latent_channels must be at least 1, found {self.blocks} and {self.latent_channels}."
            )
        if not 0 <= self.dropout < 1:
            out.append(f"dropout must lie in [0, 1), found {self.dropout}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class RendererConfig:
    """f_theta. kind: `liif`, a perceptron a query (System A 1.3), or `conv`, INFD's small convolutional renderer (6).
    hidden: widths of the perceptron's layers. local_ensemble: of `liif`, blend four corners by diagonally swapped
    areas. cell_decoding: feed the relative pixel size. channels: width of the convolutions of `conv`.
    """

    kind: Literal["liif", "conv"] = "liif"
    hidden: tuple[int, ...] = (256, 256, 256, 256)
    local_ensemble: bool = True
    cell_decoding: bool = True
    channels: int = 256

    def faults(self) -> list[str]:
        out = []
        if not self.hidden or min(self.hidden) < 1:
            out.append(f"hidden must be positive widths, found {self.hidden}.")
        if self.channels < 1:
            out.append(f"channels must be at least 1, found {self.channels}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig:
    """The diffusion U-Net (System A 1.4). attention_factors are DOWN-SAMPLING FACTORS, not sizes: (4, 2) attends at
    1/4 and 1/2 of the latent's resolution. The middle block always attends. head_channels: channels a head.
    """

    channels: int = 160
    multipliers: tuple[int, ...] = (1, 2, 2, 4)
    blocks: int = 2
    attention_factors: tuple[int, ...] = (8, 4)
    head_channels: int = 32
    dropout: float = 0.0

    @property
    def factor(self) -> int:
        """Latent sides must be multiples of this; the system pads and crops back."""
        return int(2 ** (len(self.multipliers) - 1))

    def faults(self) -> list[str]:
        out = []
        if self.channels % 8 or self.channels < 8:
            out.append(f"channels must be a positive multiple of 8 (group norm), found {self.channels}.")
        if not self.multipliers or min(self.multipliers) < 1 or self.blocks < 1 or self.head_channels < 1:
            return [*out, "multipliers must not be empty; they, blocks and head_channels must be at least 1."]
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
        if not 0 <= self.dropout < 1:
            out.append(f"dropout must lie in [0, 1), found {self.dropout}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """The patch discriminator (PatchGAN, Isola et al. 2017) of the adversarial loss; part of no trained system.
    channels: width after the first convolution, at most 8 times that later. layers: how often it halves the picture;
    3 judges patches of 70 x 70 pixels.
    """

    channels: int = 64
    layers: int = 3

    @property
    def min_side(self) -> int:
        """Side in pixels of the smallest picture that gives one verdict."""
        return int(3 * 2**self.layers)

    def faults(self) -> list[str]:
        if self.channels < 4 or self.channels % 4 or not 1 <= self.layers <= 6:
            return [
                "channels must be a positive multiple of 4 and layers lie in 1..6, "
                f"found {self.channels} and {self.layers}."
            ]
        return []


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionConfig:
    """The forward process. schedule `sqrt-linear` is LDM's "linear" (linear in sqrt(beta)); `linear` is DDPM's.
    prediction: what the network returns. steps: T. zero_terminal: rescale so that the last timestep is pure noise (Lin
    et al. 2024, Algorithm 1), where noise prediction says nothing about the picture.
    """

    steps: int = 1000
    schedule: Literal["sqrt-linear", "linear", "cosine"] = "sqrt-linear"
    beta_start: float = 0.0015
    beta_end: float = 0.0155
    prediction: Literal["eps", "x0", "v"] = "eps"
    zero_terminal: bool = False

    def faults(self) -> list[str]:
        out = []
        if self.zero_terminal and self.prediction == "eps":
            out.append("zero_terminal needs prediction x0 or v: at its last timestep x_t is the noise, found eps.")
        if self.steps < 2:
            out.append(f"steps must be at least 2, found {self.steps}.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            out.append(f"betas must satisfy 0 < start <= end < 1, found {self.beta_start} and {self.beta_end}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemConfig:
    """A whole LSR model, enough to rebuild it from its weights.

    conditional: the U-Net sees the LR latent (super-resolution) or nothing (generation). base_scale: LR images are
    brought to base_scale times their size (by `condition_upsample`) before the encoder. latent_side: side in latent
    pixels the U-Net was trained on. residual: the decoder renders what is to be added to the bicubic enlargement of
    the LR image, not the image itself.
    """

    autoencoder: AutoencoderConfig
    renderer: RendererConfig
    unet: UNetConfig
    diffusion: DiffusionConfig
    conditional: bool = True
    base_scale: int = 4
    condition_upsample: Literal["nearest", "bilinear", "bicubic"] = "nearest"
    latent_side: int = 32
    residual: bool = False

    def faults(self) -> list[str]:
        lone = self.residual and not self.conditional
        return ["residual adds to the LR image, which generation (conditional false) has not."] if lone else []
