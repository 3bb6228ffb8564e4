"""Numbers that belong to a system and a scale, not to an image: PSNR pooled over batches, distances between sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lsr.core.errors import InputError
from lsr.evaluation.images import AnyImage, Image, rounded, squared_error
from lsr.evaluation.rows import CEILING_DB, Aggregate
from lsr.metrics.distribution import NEIGHBOURS, distances, halves
from lsr.metrics.extractors import Extractor, extract

Floats = npt.NDArray[np.float64]
REAL = "real"
"""The system that real images are: its distances are those between two halves of them, the floor of the others."""


def pooled_psnr(errors: Sequence[float], batch: int) -> float:
    """System A's PSNR: squared errors [n], in the order measured, averaged over `batch` images before the logarithm.

    The batches' decibels are averaged with their lengths as weights, as in its eval_sr.py. Not the mean of the
    images' PSNR, and never above it (Jensen).
    """
    if not errors or batch < 1:
        raise InputError(f"Pooling needs squared errors and batches of at least 1, found {len(errors)} and {batch}.")
    total = 0.0
    for start in range(0, len(errors), batch):
        part = errors[start : start + batch]
        mean = float(np.mean(part))
        total += len(part) * (CEILING_DB if mean == 0 else min(-10 * float(np.log10(mean)), CEILING_DB))
    return total / len(errors)


def tiles_of(image: Image, side: int) -> list[Image]:
    """Every whole tile of a grid of `side` pixels from the top left corner, none for a smaller image."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    return [image[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(rows) for x in range(columns)]


def set_distances(
    real: Floats, groups: Sequence[str], made: Mapping[str, Floats], extractor: str
) -> Iterator[tuple[str, str, float | None]]:
    """(system, metric, value) of every system in `made` against `real`, and of REAL: one half of `real` against the
    other, whole photos (`groups`) on one side. None where there are too few images.
    """
    sets: dict[str, tuple[Floats, Floats]] = {name: (real, features) for name, features in made.items()}
    if len(set(groups)) > 1:
        one, two = halves(groups)
        sets[REAL] = (real[one], real[two])
    for name, (a, b) in sets.items():
        if min(len(a), len(b)) <= NEIGHBOURS:
            yield name, f"kid_{extractor}", None
            continue
        for metric, value in distances(a, b, extractor).items():
            yield name, metric, value


class Pools:
    """Filled image by image; `aggregates` at the end. batch: images of a pooled PSNR, 0 for none. extractors: by
    name; side: of the tiles that they take.
    """

    def __init__(self, batch: int, extractors: Mapping[str, Extractor], side: int) -> None:
        self._batch, self._extractors, self._side = batch, extractors, side
        self._errors: dict[tuple[float, str], list[float]] = defaultdict(list)
        self._features: dict[tuple[float, str, str], list[Floats]] = defaultdict(list)
        self._groups: dict[float, list[str]] = defaultdict(list)
        self._photos: dict[float, set[str]] = defaultdict(set)

    def add(self, photo: str, scale: float, truth: AnyImage, outputs: Mapping[str, AnyImage]) -> None:
        """One image: its truth and every system's output, already without the protocol's margin."""
        self._photos[scale].add(photo)
        for name, output in outputs.items():
            self._errors[scale, name].append(squared_error(output, truth))
        tiles = tiles_of(rounded(truth), self._side) if self._extractors else []
        if not tiles:
            return
        self._groups[scale] += [photo] * len(tiles)
        for extractor, network in self._extractors.items():
            self._features[scale, extractor, REAL].append(extract(network, tiles))
            for name, output in outputs.items():
                found = extract(network, tiles_of(rounded(output), self._side))
                self._features[scale, extractor, name].append(found)

    def aggregates(self) -> Iterator[Aggregate]:
        """Pooled PSNR, then distances, by scale."""
        for (scale, system), errors in self._errors.items():
            if self._batch:
                value = pooled_psnr(errors, self._batch)
                yield self._aggregate(scale, system, f"psnr_batch{self._batch}", value)
        systems = list(dict.fromkeys(system for _, system in self._errors))
        for scale in self._photos:
            for extractor in self._extractors:
                yield from self._distances(scale, extractor, systems)

    def _distances(self, scale: float, extractor: str, systems: Sequence[str]) -> Iterator[Aggregate]:
        if scale not in self._groups:
            for system in systems:
                yield self._aggregate(scale, system, f"kid_{extractor}", None)
            return
        found = {name: np.concatenate(self._features[scale, extractor, name]) for name in (REAL, *systems)}
        real = found.pop(REAL)
        for system, metric, value in set_distances(real, self._groups[scale], found, extractor):
            yield self._aggregate(scale, system, metric, value)

    def _aggregate(self, scale: float, system: str, metric: str, value: float | None) -> Aggregate:
        return Aggregate(scale=scale, system=system, metric=metric, value=value, photos=len(self._photos[scale]))
