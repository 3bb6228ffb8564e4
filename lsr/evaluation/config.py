"""Configs of evaluation and of the promotion gate; no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lsr.diffusion.request import Sampler, sampler_faults

ProtocolName = Literal["per-image", "seed-a", "liif-full"]
MetricName = Literal["dists", "mobilenetv2", "vgg16", "size_matrix"]
"""Measurements beside the usual ones: DISTS, distances between sets with an extractor, SSIM between all sizes."""

SMALLEST_OUTPUT = 32
"""Side in pixels of the smallest picture that every metric of super-resolution can measure: LPIPS needs it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Stage *evaluate*: metrics are computed for each picture, averaged for each photograph.

    protocol: which rules (lsr.evaluation.protocols). Under `per-image`, from every held-out photograph `crops` regions
    of side round(lr_side * max(scales)) are cut, the most detailed ones, the same in every run. One LR, the region
    resized (antialiased bicubic, 8-bit) to lr_side, serves all scales; the truth at scale s is the region resized to
    round(lr_side * s). The other protocols make an LR for each scale and have no use for `crops`, `liif-full` none for
    lr_side.
    scales: any reals above 0; `trained` bounds the range called in-range. steps, eta, sampler, seed: the request.
    photos: at most this many photographs, after the first `skip`, on which choices may have been made.
    samples: images drawn for generation. sizes: sides of generated images.
    metrics: measured beside the usual ones. tile: side of the tiles of outputs and truths that extractors compare.
    """

    scales: tuple[float, ...] = (2.0, 2.7, 4.0, 5.5, 8.0)
    trained: tuple[float, float] = (1.0, 4.0)
    lr_side: int = 24
    crops: int = 2
    photos: int = 8
    skip: int = 0
    steps: int = 10
    eta: float = 0.0
    sampler: Sampler = "ddim"
    seed: int = 1234
    samples: int = 16
    sizes: tuple[int, ...] = (64, 96, 128)
    protocol: ProtocolName = "per-image"
    metrics: tuple[MetricName, ...] = ()
    tile: int = 64

    def faults(self) -> list[str]:
        out = [f"scale {s} must be a finite number above 0." for s in self.scales if not (math.isfinite(s) and s > 0)]
        for name in ("lr_side", "crops", "photos", "steps", "samples"):
            if getattr(self, name) < 1:
                out.append(f"{name} must be at least 1, found {getattr(self, name)}.")
        if self.skip < 0:
            out.append(f"skip must not be negative, found {self.skip}.")
        if not self.scales:
            out.append("scales must not be empty.")
        out += sampler_faults(self.sampler, self.eta)
        sound = [s for s in self.scales if math.isfinite(s) and s > 0]
        out += [
            f"round(lr_side * scale) must be at least {SMALLEST_OUTPUT} pixels, the smallest picture LPIPS measures, "
            f"found {round(self.lr_side * s)} at scale {s:g}; raise lr_side or leave this scale out."
            for s in sound
            if round(self.lr_side * s) < SMALLEST_OUTPUT and self.protocol != "liif-full"
        ]
        if self.tile < SMALLEST_OUTPUT:
            out.append(f"tile must be at least {SMALLEST_OUTPUT} pixels, found {self.tile}.")
        if "size_matrix" in self.metrics and self.protocol != "per-image":
            out.append(
                f"size_matrix compares outputs of one LR picture, which protocol {self.protocol} does not have; use "
                "per-image or leave it out."
            )
        if not self.sizes or min(self.sizes) < 11:
            out.append(f"sizes must not be empty and at least 11, the window of SSIM, found {self.sizes}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One line of the gate: the mean over photographs and scales of (metric - reference) must exceed `above`.

    metric: `psnr`, `ssim`, `lpips`, `dists`, `lr_psnr` (low-resolution consistency), `scale_ssim` (scale consistency);
    for generation `self_ssim`, `tile_distance` (statistics against real tiles, 1 for a real tile) and `diversity` (1
    when as varied as real tiles). Where lower is better (`lpips`, `dists`, `tile_distance`) the sign is turned,
    so that more is always better: an absolute bound of 5 on `tile_distance` is `above=-5`.
    reference: `bicubic`, `champion`, or `none` for an absolute bound. scope: which scales.
    """

    metric: Literal[
        "psnr", "ssim", "lpips", "dists", "lr_psnr", "scale_ssim", "self_ssim", "tile_distance", "diversity"
    ]
    reference: Literal["bicubic", "champion", "none"]
    above: float
    scope: Literal["in-range", "out-of-range", "all"] = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """The promotion gate. floor: rules that every version must pass. against_champion: further rules once a champion
    exists. confidence: of the paired bootstrap interval over photographs; resamples and seed: how it is drawn.
    PASS needs every lower bound above its rule, FAIL any upper bound below; anything else is INCONCLUSIVE.
    """

    floor: tuple[Rule, ...]
    against_champion: tuple[Rule, ...] = ()
    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    def faults(self) -> list[str]:
        return [] if 0 < self.confidence < 1 else [f"confidence must lie in (0, 1), found {self.confidence}."]
