"""The LIIF renderer f_theta: colours at continuous positions of a feature map (System A 1.3).

Positions are counted in feature pixels: LIIF multiplies relative coordinate and cell by the feature map's H and W,
which is twice a distance in feature pixels. Queries form a regular grid, so the first linear layer splits into a part
applied once a feature pixel, gathered by integer index (deterministic backward), and a part for each axis: the
same function as LIIF's MLP on [feature, relative coordinate, relative cell], for a fraction of the work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.models.config import RendererConfig
from lsr.nn.coords import feature_positions
from lsr.nn.select import select

# On a CPU activations of this many queries stay in cache (1.5 times faster at 256 hidden units); a GPU wants more.
QUERIES_AT_ONCE = {"cpu": 16_384, "cuda": 262_144}
_MIN_AREA = 1e-9
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One neighbour along one axis, for each of n output pixels.

    index: int64 [n], the feature pixel, clamped to the map. offset: [n], LIIF's relative coordinate times the map's
    side, 2 (position - index). share: [n], |offset| of the opposite neighbour: the diagonal swap of areas.
    """

    index: Tensor
    offset: Tensor
    share: Tensor


def neighbours(positions: Tensor, features: int, *, ensemble: bool, like: Tensor) -> list[Neighbour]:
    """The two neighbours (without ensemble: the nearest, ties upward) of positions, float64 [n] in feature indices.

    Offsets and shares get the type and device of `like`.
    """
    if ensemble:
        low = (positions + _TIE).floor()
        indices = [low.clamp(0, features - 1), (low + 1).clamp(0, features - 1)]
    else:
        indices = [(positions + 0.5 + _TIE).floor().clamp(0, features - 1)]
    offsets = [2 * (positions - index) for index in indices]
    return [
        Neighbour(index.long().to(like.device), offset.to(like), opposite.abs().to(like))
        for index, offset, opposite in zip(indices, offsets, reversed(offsets), strict=True)
    ]


def rows_of(
    features: Tensor, size: tuple[int, int], rows: tuple[int, int] | None, extent: tuple[float, float]
) -> tuple[int, int]:
    """The rows to render, (start, stop): all where `rows` is None.

    Raises InputError for empty sizes, rows outside the image or an extent outside the map.
    """
    start, stop = rows or (0, size[0])
    height, width = features.shape[-2:]
    if min(size) < 1 or not 0 <= start < stop <= size[0]:
        raise InputError(f"Rows must satisfy 0 <= start < stop <= height, found {(start, stop)} of an image {size}.")
    if not (0 < extent[0] <= height and 0 < extent[1] <= width):
        raise InputError(f"The extent must lie within the feature map {height} x {width}, found {extent}.")
    return start, stop


def bands_of(
    features: Tensor, size: tuple[int, int], rows: tuple[int, int] | None, extent: tuple[float, float], least: int = 1
) -> list[tuple[int, int]]:
    """`rows_of` in bands of about QUERIES_AT_ONCE pixels and at least `least` rows: [(start, stop), ...]."""
    start, stop = rows_of(features, size, rows, extent)
    queries = QUERIES_AT_ONCE.get(features.device.type, QUERIES_AT_ONCE["cpu"])
    band = max(least, queries // (len(features) * size[1]))
    return [(i, min(i + band, stop)) for i in range(start, stop, band)]


class Renderer(nn.Module):
    """MLP on [feature, relative (y, x), relative cell (y, x)] -> RGB, blended over four corners by area."""

    def __init__(self, channels: int, config: RendererConfig):
        super().__init__()
        self.config = config
        self.channels = channels
        inputs = channels + 2 + (2 if config.cell_decoding else 0)
        self.first = nn.Linear(inputs, config.hidden[0])
        self.rest = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((*config.hidden, 3)))

    @property
    def last(self) -> nn.Linear:
        """The layer that makes RGB."""
        return cast(nn.Linear, self.rest[-1])

    def forward(
        self,
        features: Tensor,
        size: tuple[int, int],
        rows: tuple[int, int] | None = None,
        extent: tuple[float, float] | None = None,
    ) -> Tensor:
        """Render features [B, C, h, w] as an image [B, 3, *size]; not clamped.

        rows: (start, stop) renders only these rows of that image. extent: how many feature rows and columns, from the
        top left, the image covers; all of them by default. At most QUERIES_AT_ONCE pixels are rendered at a time, so
        that memory is bounded where no gradient is recorded. Raises InputError for empty sizes, rows outside the image
        or an extent outside the map.
        """
        extent = extent or (features.shape[-2], features.shape[-1])
        bands = bands_of(features, size, rows, extent)
        return torch.cat([self._band(features, size, extent, *one) for one in bands], dim=2)

    def _band(
        self, features: Tensor, size: tuple[int, int], extent: tuple[float, float], start: int, stop: int
    ) -> Tensor:
        ensemble, like = self.config.local_ensemble, self.first.weight
        y_at = feature_positions(size[0], extent[0], start, stop)
        low = max(0, math.floor(y_at[0]))
        features = features[:, :, low : math.floor(y_at[-1]) + 3]  # all that these rows can touch
        ys = neighbours(y_at - low, features.shape[2], ensemble=ensemble, like=like)
        xs = neighbours(feature_positions(size[1], extent[1]), features.shape[3], ensemble=ensemble, like=like)
        shares = [y.share[:, None] * x.share + _MIN_AREA for y in ys for x in xs]
        total = torch.stack(shares).sum(dim=0)
        projected = F.linear(features.permute(0, 2, 3, 1), self.first.weight[:, : self.channels])
        image = features.new_zeros(())
        for y in ys:
            of_rows = select(projected, 1, y.index)
            for x in xs:
                h = select(of_rows, 2, x.index) + self._place(y, x, size, extent).to(projected.dtype)
                for layer in self.rest:
                    h = layer(F.relu(h))
                image = image + (shares.pop(0) / total)[..., None] * h
        return image.permute(0, 3, 1, 2)

    def _place(self, y: Neighbour, x: Neighbour, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
        """The first layer's response to relative coordinate and cell, with its bias: [rows, columns, hidden].

        One product an axis and one sum a query, where LIIF multiplies a matrix for every query and sample.
        """
        by_y, by_x, *by_cell = self.first.weight[:, self.channels :].unbind(dim=1)
        constant: Tensor = self.first.bias
        for weight, extent_of_axis, side in zip(by_cell, extent, size):
            constant = constant + weight * (2 * extent_of_axis / side)
        return (y.offset[:, None] * by_y + constant)[:, None, :] + x.offset[:, None] * by_x
