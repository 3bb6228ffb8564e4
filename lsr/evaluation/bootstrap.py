"""Paired percentile bootstrap over photographs: how sure a mean difference is. Imports numpy and floor 0.

Photographs are the unit of resampling (a cluster bootstrap): crops and scales of one photograph are not independent
and are averaged before. The percentile interval is narrower than its name for few photographs; `gate` says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.core.errors import InputError

CHUNK = 1 << 22
"""Resampled values held at a time; bounds memory for large sets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean and the percentile interval of its bootstrap distribution. n: photographs."""

    mean: float
    low: float
    high: float
    n: int


def by_photo(values: Iterable[tuple[str, float]]) -> npt.NDArray[np.float64]:
    """Mean for each photograph, in the order of their sorted names, [n] float64."""
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
