"""The metrics of one image beside its truth: one function per metric, by the names of lsr/evaluation/metrics.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lsr.core.errors import InputError
from lsr.evaluation.images import AnyImage, Image, Perceptual, as_batch, decibels, resized, similarity
from lsr.evaluation.metrics import METRICS
from lsr.evaluation.protocols import SSIM_SIDE
from lsr.metrics.lpips import MIN_SIDE


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One output as a protocol sees it. made, truth: with the border shaved that the protocol ignores. output:
    whole. outputs: of the same LR, by scale. reference: the scale that scale consistency compares with. networks:
    perceptual metrics with their weights, by name.
    """

    scale: float
    made: AnyImage
    truth: AnyImage
    output: AnyImage
    lr: Image
    outputs: Mapping[float, AnyImage]
    reference: float
    networks: Mapping[str, Perceptual]


def measure(view: View) -> dict[str, float | None]:
    """Every metric of one image; None where it cannot be computed here. Raises InputError for broken weights."""
    wanted = [name for name, entry in METRICS.items() if entry.of == "image" or _requested(name, view)]
    return {name: _MEASURES[name](view) for name in wanted}


def _requested(name: str, view: View) -> bool:
    return METRICS[name].of == "image-on-request" and name in view.networks


def psnr(view: View) -> float:
    """In dB."""
    return decibels(view.made, view.truth)


def ssim(view: View) -> float | None:
    """None for an image smaller than its window."""
    return similarity(view.made, view.truth) if min(view.truth.shape[:2]) >= SSIM_SIDE else None


def lpips(view: View) -> float | None:
    """None without weights, and for an image too small for the network."""
    return _perceptual("lpips", view)


def dists(view: View) -> float | None:
    """None for an image too small for the network."""
    return _perceptual("dists", view)


def lr_psnr(view: View) -> float:
    """Low-resolution consistency: PSNR of the output, resized to LR's size, with LR."""
    return decibels(resized(view.output, (view.lr.shape[0], view.lr.shape[1])), view.lr)


def scale_ssim(view: View) -> float | None:
    """Scale consistency: SSIM of the output, resized to the reference scale's size, with the output at that scale.

    Asymmetric by construction: a larger output is reduced, a smaller one enlarged, which loses its detail, so values
    are comparable between systems at one scale, not between scales. None at the reference itself, where it is 1, and
    where every scale has an LR of its own.
    """
    if view.scale == view.reference or view.reference not in view.outputs:
        return None
    target = view.outputs[view.reference]
    return similarity(resized(view.output, (target.shape[0], target.shape[1])), target)


def _perceptual(name: str, view: View) -> float | None:
    network = view.networks.get(name)
    if network is None or min(view.truth.shape[:2]) < MIN_SIDE:
        return None
    value = float(network(as_batch(view.made), as_batch(view.truth)))
    if not math.isfinite(value):
        raise InputError(
            f"{name.upper()} came out {value} on two sound images; its weights are broken, fetch them again."
        )
    return value


_MEASURES = {one.__name__: one for one in (psnr, ssim, lpips, lr_psnr, scale_ssim, dists)}
