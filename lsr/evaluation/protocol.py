"""The protocol `per-image`: super-resolution measured picture by picture, against the photograph and bicubic.

Imports floors 3a and below (Pillow, torch through lsr.metrics). What this protocol fixes, because published tables
differ in every point (method.md 3.1, gotchas 17-19):

* ONE LR for all scales: a region of the photograph resized to lr_side and rounded to 8 bits. The published code
  makes a new LR for each scale from the image resized to that scale's output; here the latent is the same at every
  scale, so that consistency between scales can be measured, and all scales answer the same question.
* Truth at scale s: the region resized to round(lr_side * s). Every resize in this file is Pillow's bicubic, which
  is antialiased when it reduces, on 8-bit RGB.
* Metrics are of each picture alone, 8-bit RGB scaled to [0, 1], no border shaved, no Y channel; PSNR is never pooled
  over a batch. The gate averages the pictures of a photograph first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow

from lsr.core.errors import InputError
from lsr.core.progress import Progress, Quiet
from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.regions import choose_regions
from lsr.evaluation.rows import CEILING_DB, Evaluation, Row
from lsr.metrics import psnr, ssim

Image = npt.NDArray[np.uint8]
Size = tuple[int, int]
Upscaler = Callable[[Image, Sequence[Size]], Sequence[Image]]
"""From LR [h, w, 3] uint8 and output sizes (H, W): one uint8 picture a size, all from the same latent."""

Perceptual = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""LPIPS: two [B, 3, H, W] in [0, 1] to [B]."""

PROTOCOL = "per-image"
METRICS = ("psnr", "ssim", "lpips", "lr_psnr", "scale_ssim")


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    """One picture for people: what went in, what should and what did come out. outputs: by system."""

    photo: str
    crop: int
    scale: float
    lr: Image
    truth: Image
    outputs: Mapping[str, Image]


def resize(image: Image, size: Size) -> Image:
    """`image` [H, W, 3] uint8 at `size` (H, W) by Pillow's bicubic (antialiased when it reduces), rounded to 8 bits."""
    return np.asarray(Pillow.fromarray(image).resize((size[1], size[0]), Pillow.Resampling.BICUBIC), dtype=np.uint8)


def bicubic(lr: Image, sizes: Sequence[Size]) -> list[Image]:
    """The baseline that every version is shown beside: Pillow's bicubic from LR."""
    return [resize(lr, size) for size in sizes]


def reference_scale(config: EvaluateConfig) -> float:
    """The scale that scale consistency compares with: the largest in the trained range, else the smallest."""
    low, high = config.trained
    inside = [s for s in config.scales if low <= s <= high]
    return max(inside) if inside else min(config.scales)


def as_batch(image: Image) -> torch.Tensor:
    """[H, W, 3] uint8 as [1, 3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(torch.float32) / 255


def decibels(a: Image, b: Image) -> float:
    """PSNR in dB of two 8-bit pictures, at most CEILING_DB."""
    return min(float(psnr(as_batch(a), as_batch(b))), CEILING_DB)


def similarity(a: Image, b: Image) -> float:
    """SSIM of two 8-bit pictures."""
    return float(ssim(as_batch(a), as_batch(b)))


def evaluate(
    photos: Iterable[tuple[str, Image]],
    systems: Mapping[str, Upscaler],
    config: EvaluateConfig,
    *,
    lpips: Perceptual | None = None,
    lpips_name: str = "",
    show: Callable[[Exhibit], None] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Rows of every system, and of `bicubic`, on held-out photographs.

    photos: (key, [H, W, 3] uint8), of which the first config.photos are used. systems: by name; `ours` is what the
    gate judges. lpips: the metric with its weights, None where they are absent (the rows then say None).
    show: called with each picture. Raises InputError when nothing can be measured or a system breaks its contract.
    """
    if "bicubic" in systems:
        raise InputError("The name bicubic is taken by the baseline, which every evaluation includes; rename yours.")
    rows: list[Row] = []
    notes: list[str] = []
    everyone: dict[str, Upscaler] = {"bicubic": bicubic, **systems}
    with (progress or Quiet()).task("evaluate", config.photos, "photos") as task:
        for key, photo in islice(photos, config.photos):
            for number, lr, truths in _questions(key, photo, config, notes):
                outputs = {name: _ask(name, system, lr, truths) for name, system in everyone.items()}
                for name, answer in outputs.items():
                    rows += _measure(key, number, name, lr, truths, answer, reference_scale(config), lpips)
                if show:
                    _show(show, key, number, lr, truths, outputs)
            task.advance(note=key[:12])
    if not rows:
        reasons = " ".join(notes) or "No photograph was given."
        raise InputError(f"Nothing could be evaluated. {reasons} Hold out more or larger photographs.")
    return Evaluation(protocol=PROTOCOL, facts=_facts(config, lpips, lpips_name), rows=tuple(rows), notes=tuple(notes))


def _facts(config: EvaluateConfig, lpips: Perceptual | None, lpips_name: str) -> dict[str, object]:
    return {
        "scales": list(config.scales),
        "trained": list(config.trained),
        "lr_side": config.lr_side,
        "reference_scale": reference_scale(config),
        "resize": "Pillow bicubic, antialiased when reducing, 8-bit RGB",
        "lpips": (lpips_name or "unnamed") if lpips else None,
        "sampler": {"name": config.sampler, "steps": config.steps, "eta": config.eta, "seed": config.seed},
    }


Truths = dict[float, Image]


def _questions(key: str, photo: Image, config: EvaluateConfig, notes: list[str]) -> Iterable[tuple[int, Image, Truths]]:
    """(crop number, LR, truth by scale) of one photograph; what cannot be asked is noted."""
    wanted = round(config.lr_side * max(config.scales))
    for number, region in enumerate(choose_regions(photo, crops=config.crops, side=wanted)):
        if region.side < config.lr_side:
            notes.append(f"{key}: its short side {region.side} is below lr_side {config.lr_side}; left out.")
            continue
        pixels = region.cut(photo)
        sides = {s: round(config.lr_side * s) for s in config.scales}
        real = {s: side for s, side in sides.items() if side <= region.side}
        if len(real) < len(sides):
            lost = ", ".join(f"{s:g}" for s in sides if s not in real)
            notes.append(f"{key}: its largest square has side {region.side}, too small for a true picture at x{lost}.")
        if real:
            lr = resize(pixels, (config.lr_side, config.lr_side))
            yield number, lr, {s: resize(pixels, (side, side)) for s, side in real.items()}


def _ask(name: str, system: Upscaler, lr: Image, truths: Truths) -> dict[float, Image]:
    sizes = [(truth.shape[0], truth.shape[1]) for truth in truths.values()]
    answer = list(system(lr, sizes))
    wrong = len(answer) != len(sizes) or any(
        image.dtype != np.uint8 or image.shape != (*size, 3) for image, size in zip(answer, sizes)
    )
    if wrong:
        found = ", ".join(f"{image.dtype} {list(image.shape)}" for image in answer)
        raise InputError(f"System {name} must return one uint8 picture [H, W, 3] for each of {sizes}, found {found}.")
    return dict(zip(truths, answer))


def _measure(
    key: str,
    number: int,
    name: str,
    lr: Image,
    truths: Truths,
    outputs: Mapping[float, Image],
    reference: float,
    lpips: Perceptual | None,
) -> list[Row]:
    rows = []
    for scale, output in outputs.items():
        truth = truths[scale]
        values: dict[str, float | None] = {
            "psnr": decibels(output, truth),
            "ssim": similarity(output, truth),
            "lpips": _perceptual(lpips, output, truth) if lpips else None,
            "lr_psnr": decibels(resize(output, (lr.shape[0], lr.shape[1])), lr),
            "scale_ssim": _consistency(scale, outputs, reference),
        }
        rows.append(Row(photo=key, crop=number, scale=scale, system=name, values=values))
    return rows


def _perceptual(lpips: Perceptual, output: Image, truth: Image) -> float:
    value = float(lpips(as_batch(output), as_batch(truth)))
    if not math.isfinite(value):
        raise InputError(f"LPIPS came out {value} on two sound pictures; its weights are broken, fetch them again.")
    return value


def _consistency(scale: float, outputs: Mapping[float, Image], reference: float) -> float | None:
    """SSIM of the output, resized to the reference scale's size, with the output at the reference scale.

    Asymmetric by construction: a larger output is reduced, a smaller one enlarged, which loses its detail, so values
    are comparable between systems at one scale, not between scales. None at the reference itself, where it is 1.
    """
    if scale == reference or reference not in outputs:
        return None
    target = outputs[reference]
    return similarity(resize(outputs[scale], (target.shape[0], target.shape[1])), target)


def _show(
    show: Callable[[Exhibit], None],
    key: str,
    number: int,
    lr: Image,
    truths: Truths,
    outputs: Mapping[str, Mapping[float, Image]],
) -> None:
    for scale, truth in truths.items():
        by_system = {name: answer[scale] for name, answer in outputs.items()}
        show(Exhibit(photo=key, crop=number, scale=scale, lr=lr, truth=truth, outputs=by_system))
