"""Configs of evaluation and of the promotion gate; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from lsr.core.config import Config, Count, Positive, PositiveFloat
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.metrics import GATED
from lsr.inference.config import Precision

ProtocolName = Literal["per-image", "seed-a", "liif-full"]
MetricName = Literal["dists", "mobilenetv2", "vgg16", "size_matrix"]
"""Measurements beside the usual ones: DISTS, distances between sets with an extractor, SSIM between all sizes."""

SMALLEST_OUTPUT = 32
"""Side in pixels of the smallest image that every metric of super-resolution can measure: LPIPS needs it."""
SMALLEST_GENERATED = 11
"""The window of SSIM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(Config):
    """Stage *evaluate*: metrics are computed for each image, averaged for each photo.

    Under `per-image`, from every held-out photo `crops` regions of side round(lr_side * max(scales)) are cut, the most
    detailed ones, the same in every run. One LR, the region resized (antialiased bicubic, 8-bit) to lr_side, serves all
    scales; the truth at scale s is the region resized to round(lr_side * s). The other protocols make an LR for each
    scale and have no use for `crops`, `liif-full` none for lr_side.
    """

    scales: tuple[PositiveFloat, ...] = (2.0, 2.7, 4.0, 5.5, 8.0)
    """Output side / LR side, any reals above 0."""
    trained: tuple[PositiveFloat, PositiveFloat] = (1.0, 4.0)
    """(min, max) of the scales called in-range."""
    lr_side: Positive = 24
    """Side of LR in pixels."""
    crops: Positive = 2
    """Regions per photo."""
    photos: Positive = 8
    """At most this many photos."""
    skip: Count = 0
    """Leave out the first so many photos, on which choices may have been made."""
    sampler: SamplerConfig = SamplerConfig(seed=1234)
    """How each image is drawn."""
    precision: Precision = "fp32"
    """Of the networks."""
    samples: Positive = 16
    """Generation: images drawn."""
    sizes: tuple[Annotated[int, Ge(SMALLEST_GENERATED)], ...] = (64, 96, 128)
    """Generation: sides of the images in pixels."""
    protocol: ProtocolName = "per-image"
    """Which rules (lsr.evaluation.protocols)."""
    metrics: tuple[MetricName, ...] = ()
    """Measured beside the usual ones."""
    tile: Annotated[int, Ge(SMALLEST_OUTPUT)] = 64
    """Side of the tiles of outputs and truths that extractors compare."""

    def faults(self) -> list[str]:
        out = [] if self.scales else ["scales must not be empty."]
        if not self.sizes:
            out.append("sizes must not be empty.")
        if self.trained[0] > self.trained[1]:
            out.append(f"trained must satisfy min <= max, found {self.trained}.")
        out += [
            f"round(lr_side * scale) must be at least {SMALLEST_OUTPUT} pixels, the smallest image LPIPS measures, "
            f"found {round(self.lr_side * s)} at scale {s:g}; raise lr_side or leave this scale out."
            for s in self.scales
            if round(self.lr_side * s) < SMALLEST_OUTPUT and self.protocol != "liif-full"
        ]
        if "size_matrix" in self.metrics and self.protocol != "per-image":
            out.append(
                f"size_matrix compares outputs of one LR image, which protocol {self.protocol} does not have; use "
                "per-image or leave it out."
            )
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule(Config):
    """One rule of the gate: the mean over photos and scales of (metric - reference) must exceed `above`.

    Where lower is better (`lpips`, `dists`, `tile_distance`) the sign is turned, so that more is always better: an
    absolute bound of 5 on `tile_distance` is `above=-5`.
    """

    metric: str
    """A name of lsr/evaluation/metrics.py: for super-resolution `psnr`, `ssim`, `lpips`, `dists`, `lr_psnr`
    (low-resolution consistency), `scale_ssim` (scale consistency); for generation `self_ssim`, `tile_distance`
    (statistics against real tiles, 1 for a real tile) and `diversity` (1 when as varied as real tiles)."""
    reference: Literal["bicubic", "champion", "none"]
    """What the metric is held against; none for an absolute bound."""
    above: float
    """The bound."""
    scope: Literal["in-range", "out-of-range", "all"] = "all"
    """Which scales."""

    def faults(self) -> list[str]:
        return [] if self.metric in GATED else [f"metric must be one of {', '.join(GATED)}, found {self.metric!r}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig(Config):
    """The promotion gate: PASS needs every lower bound above its rule, FAIL any upper bound below; anything else is
    INCONCLUSIVE.
    """

    floor: tuple[Rule, ...]
    """Rules that every version must pass."""
    against_champion: tuple[Rule, ...] = ()
    """Further rules once a champion exists."""
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    """Of the paired bootstrap interval over photos."""
    resamples: Annotated[int, Ge(100)] = 2000
    """Of the bootstrap."""
    seed: Count = 0
    """Of the bootstrap's draws."""

    def faults(self) -> list[str]:
        out = [] if self.floor else ["floor must have a rule: a gate without one lets everything pass."]
        if any(rule.reference == "champion" for rule in self.floor):
            out.append(
                "floor must not refer to the champion, which the first version has not; such rules belong into "
                "against_champion."
            )
        return out
