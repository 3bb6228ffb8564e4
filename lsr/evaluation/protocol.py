"""Super-resolution measured under a named protocol, against the photo and bicubic.

`per-image`, the default, is what the gate judges by:

* ONE LR for all scales: a region of the photo resized to lr_side and rounded to 8 bits. The published code
  makes a new LR for each scale from the image resized to that scale's output; here the latent is the same at every
  scale, so that consistency between scales can be measured, and all scales answer the same question.
* Truth at scale s: the region resized to round(lr_side * s). Every resize is Pillow's bicubic, which is antialiased
  when it reduces, on 8-bit RGB.
* Metrics are of each image alone, 8-bit RGB scaled to [0, 1], no border shaved, no Y channel; PSNR is never pooled
  over a batch. The gate averages the images of a photo first.

The other protocols are in `protocols`; docs/evaluation.md compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import numpy as np

from lsr.core.config import as_plain
from lsr.core.errors import InputError
from lsr.core.progress import Progress, Quiet
from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.images import (
    AnyImage,
    Exhibit,
    Image,
    Perceptual,
    Size,
    Upscaler,
    as_batch,
    bicubic,
    decibels,
    resize,
    rounded,
    similarity,
    size_matrix,
)
from lsr.evaluation.measures import View, measure
from lsr.evaluation.pooled import Pools
from lsr.evaluation.protocols import Protocol, Truths, protocol_of, questions
from lsr.evaluation.rows import Evaluation, Row
from lsr.metrics.extractors import Extractor

__all__ = [
    "Exhibit",
    "Image",
    "Perceptual",
    "Size",
    "Upscaler",
    "as_batch",
    "bicubic",
    "decibels",
    "evaluate",
    "reference_scale",
    "resize",
    "similarity",
]


def reference_scale(config: EvaluateConfig) -> float:
    """The scale that scale consistency compares with: the largest in the trained range, else the smallest."""
    low, high = config.trained
    inside = [s for s in config.scales if low <= s <= high]
    return max(inside) if inside else min(config.scales)


def evaluate(
    photos: Iterable[tuple[str, Image]],
    systems: Mapping[str, Upscaler],
    config: EvaluateConfig,
    *,
    lpips: Perceptual | None = None,
    lpips_name: str = "",
    dists: Perceptual | None = None,
    extractors: Mapping[str, Extractor] | None = None,
    show: Callable[[Exhibit], None] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Rows of every system, and of `bicubic`, on held-out photos, under the protocol that the config names.

    photos: (key, [H, W, 3] uint8), of which config.photos are used after the first config.skip. systems: by name;
    `ours` is what the gate judges. lpips, dists: the metrics with their weights; LPIPS may be None where they are
    absent (the rows then say None). dists and extractors (by name) are used as far as config.metrics asks for them.
    show: called with each image. Raises InputError when nothing can be measured, a system breaks its contract or a
    metric was asked for and not given.
    """
    if "bicubic" in systems:
        raise InputError("The name bicubic is taken by the baseline, which every evaluation includes; rename yours.")
    given = {**({"dists": dists} if dists else {}), **(extractors or {})}
    if missing := [name for name in config.metrics if name != "size_matrix" and name not in given]:
        raise InputError(f"The evaluation asks for {', '.join(missing)} and was not given the weights; pass them.")
    protocol = protocol_of(config)
    pools = Pools(protocol.pooled, {n: e for n, e in (extractors or {}).items() if n in config.metrics}, config.tile)
    networks = {"lpips": lpips, "dists": dists if "dists" in config.metrics else None}
    judge = _Judge(protocol, config, {name: found for name, found in networks.items() if found is not None})
    rows: list[Row] = []
    notes: list[str] = []
    everyone: dict[str, Upscaler] = {"bicubic": bicubic, **systems}
    with (progress or Quiet()).task("evaluate", config.photos, "photos") as task:
        for key, photo in islice(photos, config.skip, config.skip + config.photos):
            for number, lr, truths in questions(key, photo, config, notes):
                outputs = {name: _ask(name, system, lr, truths, protocol) for name, system in everyone.items()}
                for name, answer in outputs.items():
                    rows += judge.rows(key, number, name, lr, truths, answer)
                for scale, truth in truths.items():
                    shaved = {name: protocol.shave(answer[scale], scale) for name, answer in outputs.items()}
                    pools.add(key, scale, protocol.shave(truth, scale), shaved)
                if show:
                    _show(show, key, number, lr, truths, outputs)
            task.advance(note=key[:12])
    if not rows:
        reasons = " ".join(notes) or "No photo was given."
        raise InputError(f"Nothing could be evaluated. {reasons} Hold out more or larger photos.")
    found = len({row.photo for row in rows})
    if protocol.photos and found != protocol.photos:
        notes.append(f"Protocol {protocol.name} was published with {protocol.photos} images; these are {found}.")
    facts = _facts(config, lpips, lpips_name)
    aggregates = tuple(pools.aggregates())
    return Evaluation(protocol=protocol.name, facts=facts, rows=tuple(rows), notes=tuple(notes), aggregates=aggregates)


def _facts(config: EvaluateConfig, lpips: Perceptual | None, lpips_name: str) -> dict[str, object]:
    protocol = protocol_of(config)
    return {
        "scales": list(config.scales),
        "trained": list(config.trained),
        "lr_side": config.lr_side,
        "reference_scale": reference_scale(config),
        "resize": protocol.resize,
        "protocol": as_plain(protocol),
        "lpips": (lpips_name or "unnamed") if lpips else None,
        "sampler": as_plain(config.sampler),
        **({"skip": config.skip} if config.skip else {}),
        **({"tile": config.tile} if {"mobilenetv2", "vgg16"} & set(config.metrics) else {}),
    }


def _ask(name: str, system: Upscaler, lr: Image, truths: Truths, protocol: Protocol) -> dict[float, AnyImage]:
    sizes = [(truth.shape[0], truth.shape[1]) for truth in truths.values()]
    answer = list(system(lr, sizes))
    kinds = ("uint8",) if protocol.rounding else ("uint8", "float32")
    wrong = len(answer) != len(sizes) or any(
        str(image.dtype) not in kinds or image.shape != (*size, 3) for image, size in zip(answer, sizes)
    )
    if wrong:
        found = ", ".join(f"{image.dtype} {list(image.shape)}" for image in answer)
        raise InputError(
            f"System {name} must return one {' or '.join(kinds)} image [H, W, 3] for each of {sizes}, found {found}."
        )
    for image in answer:
        if image.dtype == np.float32 and not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise InputError(f"System {name} must return finite values in [0, 1], found others; clamp its output.")
    return dict(zip(truths, answer))


class _Judge:
    """The metrics of one image, as the protocol sees it."""

    def __init__(self, protocol: Protocol, config: EvaluateConfig, networks: Mapping[str, Perceptual]) -> None:
        self._protocol, self._networks = protocol, networks
        self._reference, self._matrix = reference_scale(config), "size_matrix" in config.metrics

    def rows(
        self, key: str, number: int, name: str, lr: Image, truths: Truths, outputs: Mapping[float, AnyImage]
    ) -> list[Row]:
        matrix = size_matrix(list(outputs.values())) if self._matrix else [{}] * len(outputs)
        rows = []
        for (scale, output), by_size in zip(outputs.items(), matrix):
            made, truth = (self._protocol.shave(image, scale) for image in (output, truths[scale]))
            view = View(
                scale=scale,
                made=made,
                truth=truth,
                output=output,
                lr=lr,
                outputs=outputs,
                reference=self._reference,
                networks=self._networks,
            )
            values = {**measure(view), **by_size}
            rows.append(Row(photo=key, crop=number, scale=scale, system=name, values=values))
        return rows


def _show(
    show: Callable[[Exhibit], None],
    key: str,
    number: int,
    lr: Image,
    truths: Truths,
    outputs: Mapping[str, Mapping[float, AnyImage]],
) -> None:
    for scale, truth in truths.items():
        by_system = {name: rounded(answer[scale]) for name, answer in outputs.items()}
        show(Exhibit(photo=key, crop=number, scale=scale, lr=lr, truth=truth, outputs=by_system))
