"""Large latents in overlapping windows, blended by linear ramps: memory and attention stay bounded. May import torch.

Noise is drawn for the whole latent before, so where windows lie does not change it; one window that covers everything
gives exactly the plain result.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lsr.core.errors import InputError
from lsr.diffusion.samplers import Denoiser


def starts(length: int, window: int, overlap: int) -> list[int]:
    """First positions of windows that cover `length` and overlap by at least `overlap`."""
    if length <= window:
        return [0]
    step = window - overlap
    return [*range(0, length - window, step), length - window]


def ramp(length: int, window: int, overlap: int, start: int) -> Tensor:
    """Weights [window]: rising over the overlap with a neighbour, 1 elsewhere; never 0."""
    size = min(window, length)
    weights = torch.ones(size)
    rising = (torch.arange(overlap) + 1.0) / (overlap + 1.0)
    if start > 0 and overlap:
        weights[:overlap] = rising
    if start + size < length and overlap:
        weights[-overlap:] = torch.minimum(weights[-overlap:], rising.flip(0))
    return weights


def blend(
    function: Callable[[tuple[slice, slice]], Tensor], height: int, width: int, *, window: int, overlap: int
) -> Tensor:
    """Evaluate `function` on windows of an height x width map and blend; each call returns [B, C, h, w] of its window.

    Raises InputError unless 0 <= overlap < window.
    """
    if not 0 <= overlap < window:
        raise InputError(f"The overlap must lie in [0, window), found overlap {overlap} and window {window}.")
    if height <= window and width <= window:
        return function((slice(0, height), slice(0, width)))
    total: Tensor | None = None
    weight = torch.zeros(height, width)
    for top in starts(height, window, overlap):
        for left in starts(width, window, overlap):
            place = (slice(top, min(top + window, height)), slice(left, min(left + window, width)))
            part = function(place)
            share = torch.outer(ramp(height, window, overlap, top), ramp(width, window, overlap, left))
            if total is None:
                total = part.new_zeros((*part.shape[:2], height, width))
            total[..., place[0], place[1]] += part * share.to(part)
            weight[place] += share
    assert total is not None
    return total / weight.to(total)


def windowed_denoiser(
    make: Callable[[Tensor | None], Denoiser], cond: Tensor | None, *, window: int, overlap: int
) -> Denoiser:
    """A denoiser that evaluates overlapping windows. make: the plain denoiser for a window's condition."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        def part(place: tuple[slice, slice]) -> Tensor:
            inside = (..., *place)
            return make(None if cond is None else cond[inside])(x_t[inside], t)

        return blend(part, x_t.shape[-2], x_t.shape[-1], window=window, overlap=overlap)

    return denoise
