"""Every metric that is a table's column: one entry each. No torch here, so that recipes may name them.

A new one that is measured per image is an entry here and a function of its name in lsr/evaluation/measures.py; the
gate, the tables, the pages and the study then know it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_AGAIN = "Evaluate again with this metric, this reference and scales in this scope."


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What is known of a metric without measuring it.

    of: what one value is taken from: an image beside its truth (asked for, or always), a set of generated images, or
    all images of a scale together. lower: lower is better; its sign is turned before it is compared. digits: shown in
    tables. lacking: how to get it where it was not computed.
    """

    of: Literal["image", "image-on-request", "generation", "set"]
    lower: bool = False
    digits: int = 4
    lacking: str = _AGAIN


METRICS: dict[str, Metric] = {
    "psnr": Metric(of="image", digits=2),
    "ssim": Metric(of="image"),
    "lpips": Metric(
        of="image",
        lower=True,
        lacking="LPIPS weights are not here: run `lsr data get lpips` and evaluate again.",
    ),
    "lr_psnr": Metric(of="image", digits=2),
    "scale_ssim": Metric(
        of="image",
        lacking="Scale consistency needs at least two scales in the rule's scope: add scales and evaluate again.",
    ),
    "dists": Metric(of="image-on-request", lower=True),
    "self_ssim": Metric(
        of="generation", lacking="SelfSSIM needs at least two output sizes: add sizes and evaluate again."
    ),
    "tile_distance": Metric(of="generation", lower=True),
    "diversity": Metric(of="generation", lacking="Diversity needs at least two samples: draw more and evaluate again."),
    "psnr_batch8": Metric(of="set", digits=2),
    "kid_mobilenetv2": Metric(of="set", lower=True),
    "fd_mobilenetv2": Metric(of="set", lower=True),
    "kid_vgg16": Metric(of="set", lower=True),
    "fd_vgg16": Metric(of="set", lower=True),
}
"""In the order in which tables show them."""

GATED = tuple(name for name, metric in METRICS.items() if metric.of != "set")
"""What a rule of the gate may name: metrics with a value per photo, so that photos can be resampled."""


def metric(name: str) -> Metric:
    """The entry of `name`; a column that no entry names (`ssim_at_64x64`) is of a set, more is better."""
    return METRICS.get(name) or Metric(of="set")
