"""A study's arithmetic: means with intervals over photos, differences of two systems, who converged, who is best.

Photos are the unit: seeds, crops and (where scales are pooled) scales of one photo are averaged first. Seeds
are shown by their own spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsr.core.errors import InputError
from lsr.evaluation.bootstrap import Interval, bootstrap, by_photo
from lsr.evaluation.metrics import metric as metric_of
from lsr.evaluation.rows import Evaluation, Row, metrics_of

BICUBIC = "bicubic"

Measured = Mapping[str, Sequence[Evaluation]]
"""The evaluations of each system by its label, one a training seed; every one holds bicubic's rows too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampling:
    """How intervals are drawn: see `bootstrap`."""

    confidence: float = 0.95
    resamples: int = 4000
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of the table. interval: over photos. spread: standard deviation of the mean between seeds, None
    for a single one.
    """

    system: str
    scale: float
    metric: str
    interval: Interval
    spread: float | None


def rows_of(measured: Measured, system: str) -> list[list[Row]]:
    """The rows of `system`, a list for each seed. `bicubic` is taken from the first evaluation there is."""
    if system == BICUBIC:
        return [[row for row in next(iter(measured.values()))[0].rows if row.system == BICUBIC]]
    if system not in measured:
        raise InputError(f"The study has no system {system!r}; it has {', '.join(measured)}.")
    return [[row for row in evaluation.rows if row.system == system] for evaluation in measured[system]]


def _values(rows: Sequence[Row], metric: str, scales: Sequence[float]) -> list[tuple[str, float]]:
    found = [(row.photo, row.values.get(metric)) for row in rows if row.scale in scales]
    return [(photo, value) for photo, value in found if value is not None]


def cell(measured: Measured, system: str, scale: float, metric: str, how: Resampling) -> Cell | None:
    """Mean of `metric` of one system at one scale; None where it was not computed."""
    by_seed = [_values(rows, metric, [scale]) for rows in rows_of(measured, system)]
    if not all(by_seed):
        return None
    pooled = by_photo(pair for values in by_seed for pair in values)
    means = [by_photo(values).mean() for values in by_seed]
    return Cell(
        system=system,
        scale=scale,
        metric=metric,
        interval=bootstrap(pooled, confidence=how.confidence, resamples=how.resamples, seed=how.seed),
        spread=float(np.std(means, ddof=1)) if len(means) > 1 else None,
    )


def difference(
    measured: Measured, system: str, other: str, metric: str, scales: Sequence[float], how: Resampling
) -> Interval | None:
    """How much better `system` is than `other`, paired by photo: above 0 is better for every metric.

    Raises InputError when the two were not measured on the same photos. None where one was not computed.
    """
    pairs = [
        [pair for rows in rows_of(measured, name) for pair in _values(rows, metric, scales)] for name in (system, other)
    ]
    if not all(pairs):
        return None
    photos = [{photo for photo, _ in values} for values in pairs]
    if photos[0] != photos[1]:
        raise InputError(f"{system} and {other} were measured on different photos; measure both again.")
    mine, theirs = (by_photo(values) for values in pairs)
    sign = -1.0 if metric_of(metric).lower else 1.0
    return bootstrap(sign * (mine - theirs), confidence=how.confidence, resamples=how.resamples, seed=how.seed)


def metrics_in(measured: Measured) -> list[str]:
    """Metrics that at least one row holds a value of, in the order of the protocol."""
    rows = [row for evaluations in measured.values() for evaluation in evaluations for row in evaluation.rows]
    return [m for m in metrics_of(rows) if any(row.values.get(m) is not None for row in rows)]


def scales_in(measured: Measured) -> list[float]:
    """Every scale measured, ascending."""
    return sorted({row.scale for one in measured.values() for evaluation in one for row in evaluation.rows})


def converged(
    measured: Measured,
    system: str,
    scale: float,
    margins: Mapping[str, float],
    how: Resampling,
    floor: float | None = None,
) -> bool:
    """Whether `system` is better than bicubic at `scale` by the margin of at least one metric, on the mean, and, with a
    floor, not more than `floor` dB of PSNR below it.
    """
    gains = {metric: difference(measured, system, BICUBIC, metric, [scale], how) for metric in margins}
    psnr = difference(measured, system, BICUBIC, "psnr", [scale], how) if floor is not None else None
    if floor is not None and psnr is not None and psnr.mean < -floor:
        return False
    return any(gain is not None and gain.mean >= margins[metric] for metric, gain in gains.items())


def best(measured: Measured, systems: Sequence[str], scale: float, metric: str, how: Resampling) -> str | None:
    """The system with the best mean; None where the metric was not computed."""
    found = {name: cell(measured, name, scale, metric, how) for name in systems}
    known = {name: one.interval.mean for name, one in found.items() if one is not None}
    if not known:
        return None
    choose = min if metric_of(metric).lower else max
    return choose(known, key=lambda name: known[name])
