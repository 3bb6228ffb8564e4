"""Configs of the comparators' objectives; no torch here. Each comparator's own loss is the default of its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressionLoss:
    """EDSR and LIIF: mean |truth - output|^p over pixels. norm: l1 or l2. scales, queries: for LIIF only.

    scales: (min, max) of output side / tile side, one draw a global batch; LR is the same at every scale. (1 / f, 1)
    are the scales 1 .. f of a degradation by f. queries: at most about so many pixels a tile are rendered, a band of
    rows at a drawn height; None renders all of them.
    """

    norm: Literal["l1", "l2"] = "l1"
    scales: tuple[float, float] = (0.25, 1.0)
    queries: int | None = None

    def faults(self) -> list[str]:
        low, high = self.scales
        out = [] if 0 < low <= high else [f"scales must satisfy 0 < min <= max, found {self.scales}."]
        if self.queries is not None and self.queries < 1:
            out.append(f"queries must be at least 1, or null for all, found {self.queries}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelDiffusionLoss:
    """SR3 and IDM: mean |target - output|^p, the target by `diffusion.prediction`. norm: l1 as in both papers' code.

    positions: IDM only, (min, max) of p in output side = LR side + p (tile side - LR side), one draw a global batch.
    """

    norm: Literal["l1", "l2"] = "l1"
    positions: tuple[float, float] = (0.0, 1.0)

    def faults(self) -> list[str]:
        low, high = self.positions
        return [] if 0 <= low <= high <= 1 else [f"positions must satisfy 0 <= min <= max <= 1, found {low}, {high}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class EsrganLoss:
    """ESRGAN: pixel_weight * L1 + perceptual_weight * perceptual distance + adversarial_weight * relativistic loss for
    the generator, the relativistic loss for the discriminator. pretrain: that many steps first train the generator by
    plain L1, as the published one starts from its PSNR model. Where no perceptual distance is at hand, set its weight
    to 0 and choose the others anew.
    """

    pixel_weight: float = 0.01
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.005
    pretrain: int = 0

    def faults(self) -> list[str]:
        names = ("pixel_weight", "perceptual_weight", "adversarial_weight", "pretrain")
        return [f"{n} must not be negative, found {getattr(self, n)}." for n in names if getattr(self, n) < 0]


BaselineLoss = RegressionLoss | PixelDiffusionLoss | EsrganLoss
