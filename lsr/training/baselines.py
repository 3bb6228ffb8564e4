"""Configs of the comparators' objectives; no torch here. Each comparator's own loss is the default of its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lsr.core.config import Config, Count, Fraction, NonNegative, Positive, PositiveFloat


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressionLoss(Config):
    """EDSR and LIIF: mean |truth - output|^p over pixels."""

    norm: Literal["l1", "l2"] = "l1"
    """p."""
    scales: tuple[PositiveFloat, PositiveFloat] = (0.25, 1.0)
    """LIIF only: (min, max) of output side / tile side, one draw per global batch; LR is the same at every scale.
    (1 / f, 1) are the scales 1 .. f of a degradation by f."""
    queries: Positive | None = None
    """LIIF only: at most about so many pixels per tile are rendered, a band of rows at a drawn height; null renders all
    of them."""

    def faults(self) -> list[str]:
        low, high = self.scales
        return [] if low <= high else [f"scales must satisfy min <= max, found {self.scales}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelDiffusionLoss(Config):
    """SR3 and IDM: mean |target - output|^p, the target by `diffusion.prediction`."""

    norm: Literal["l1", "l2"] = "l1"
    """p; l1 as in both papers' code."""
    positions: tuple[Fraction, Fraction] = (0.0, 1.0)
    """IDM only: (min, max) of p in output side = LR side + p (tile side - LR side), one draw per global batch."""

    def faults(self) -> list[str]:
        low, high = self.positions
        return [] if low <= high else [f"positions must satisfy min <= max, found {low}, {high}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class EsrganLoss(Config):
    """ESRGAN: pixel_weight * L1 + perceptual_weight * perceptual distance + adversarial_weight * relativistic loss for
    the generator, the relativistic loss for the discriminator. Where no perceptual distance is at hand, set its weight
    to 0 and choose the others anew.
    """

    pixel_weight: NonNegative = 0.01
    """Of L1."""
    perceptual_weight: NonNegative = 1.0
    """Of the perceptual distance."""
    adversarial_weight: NonNegative = 0.005
    """Of the relativistic loss."""
    pretrain: Count = 0
    """Images over which the generator first trains by plain L1, as the published one starts from its PSNR model."""


BaselineLoss = RegressionLoss | PixelDiffusionLoss | EsrganLoss
