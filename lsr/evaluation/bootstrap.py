"""Paired percentile bootstrap over photos: how sure a mean difference is.

Photos are the unit of resampling (a cluster bootstrap): crops and scales of one photo are not independent
and are averaged before. The percentile interval is narrower than its name for few photos; `gate` says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.core.errors import InputError
from lsr.evaluation.rows import Row

CHUNK = 1 << 22
"""Resampled values held at a time; bounds memory for large sets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean and the percentile interval of its bootstrap distribution. n: photos."""

    mean: float
    low: float
    high: float
    n: int


def by_photo(values: Iterable[tuple[str, float]]) -> npt.NDArray[np.float64]:
    """Mean for each photo, in the order of their sorted names, [n] float64."""
    groups: dict[str, list[float]] = defaultdict(list)
    for photo, value in values:
        groups[photo].append(value)
    return np.array([np.mean(groups[photo]) for photo in sorted(groups)], dtype=np.float64)


def bootstrap(values: npt.NDArray[np.float64], *, confidence: float, resamples: int, seed: int) -> Interval:
    """Percentile bootstrap interval of the mean of `values` [n], n >= 1.

    For a paired comparison `values` are the differences. Draws come from Philox(seed): equal arguments, equal
    interval. Raises InputError for an empty or non-finite array.
    """
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        raise InputError(f"A bootstrap needs finite values, found {n} of which {np.isfinite(values).sum()} are finite.")
    rng = np.random.Generator(np.random.Philox(seed))
    step = max(CHUNK // n, 1)
    means = np.concatenate(
        [
            values[rng.integers(0, n, size=(min(step, resamples - start), n))].mean(axis=1)
            for start in range(0, resamples, step)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high), n=n)


def interval(
    values: Iterable[tuple[str, float]], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean and interval of any metric. values: (photo, value), as often as it was measured: every crop, scale and
    training seed of a photo is averaged first, then photos are resampled.

    The interval says what other photos would have given, not what other training seeds would. Raises InputError
    without values and for values that are not finite.
    """
    return bootstrap(by_photo(values), confidence=confidence, resamples=resamples, seed=seed)


def paired_difference(
    a: Iterable[tuple[str, float]],
    b: Iterable[tuple[str, float]],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of a - b and its interval, paired by photo: what is hard in a photo is hard for both systems, and
    falls out. a, b: as in `interval`; the numbers of seeds may differ. Raises InputError unless both measured the same
    photos.
    """
    a, b = list(a), list(b)
    mine, theirs = {photo for photo, _ in a}, {photo for photo, _ in b}
    if mine != theirs:
        raise InputError(
            f"A paired difference needs the same photos on both sides, found {len(mine - theirs)} only in the "
            f"first and {len(theirs - mine)} only in the second; evaluate both on one held-out set."
        )
    return bootstrap(by_photo(a) - by_photo(b), confidence=confidence, resamples=resamples, seed=seed)


def measured(rows: Iterable[Row], system: str, metric: str, scales: Sequence[float] = ()) -> list[tuple[str, float]]:
    """(photo, value) of every row of `system` that has `metric`, for `interval`. scales: only these, all if ()."""
    found = ((row.photo, row.values.get(metric)) for row in rows if row.system == system and _in(row.scale, scales))
    return [(photo, value) for photo, value in found if value is not None]


def _in(scale: float, scales: Sequence[float]) -> bool:
    return not scales or scale in scales
