"""An evaluation as a table for people, in markdown.

The table puts every system beside bicubic, and says in words where bicubic is the better one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.evaluation.bootstrap import Interval, bootstrap, by_photo
from lsr.evaluation.metrics import metric as metric_of
from lsr.evaluation.rows import Evaluation, Row, metrics_of, photos_of, systems_of

NOT_COMPUTED = "not computed"
ABSENT = "-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """Mean over photos of one metric of one system at one scale; value None where it was not computed."""

    scale: float
    system: str
    metric: str
    value: float | None
    photos: int


Cell = tuple[float, str, str]
"""Scale, system and metric."""


def means(evaluation: Evaluation) -> list[Mean]:
    """Means over photos (images of one averaged first), by scale, system and metric, in that order; then the
    numbers of whole systems.
    """
    out = [
        Mean(scale=scale, system=system, metric=metric, value=float(v.mean()) if len(v) else None, photos=len(v))
        for (scale, system, metric), v in _by_cell(evaluation).items()
    ]
    return out + [
        Mean(scale=cell.scale, system=cell.system, metric=cell.metric, value=cell.value, photos=cell.photos)
        for cell in evaluation.aggregates
    ]


def intervals(
    evaluation: Evaluation, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[Cell, Interval | None]:
    """Mean and bootstrap interval over photos of every cell that comes from rows, None where it was not computed.

    A cell of one photo has an interval of no width, which says nothing.
    """
    return {
        cell: bootstrap(values, confidence=confidence, resamples=resamples, seed=seed) if len(values) else None
        for cell, values in _by_cell(evaluation).items()
    }


def _by_cell(evaluation: Evaluation) -> dict[Cell, npt.NDArray[np.float64]]:
    """One value a photo for every cell, ordered by scale, system and metric."""
    cells: dict[Cell, list[tuple[str, float]]] = defaultdict(list)
    for row in evaluation.rows:
        for metric, value in row.values.items():
            found = cells[(row.scale, row.system, metric)]
            if value is not None:
                found.append((row.photo, value))
    systems, metrics = systems_of(evaluation.rows), metrics_of(evaluation.rows)
    order = sorted(cells, key=lambda cell: (cell[0], systems.index(cell[1]), metrics.index(cell[2])))
    return {cell: by_photo(cells[cell]) for cell in order}


def shown(metric: str, value: float | None) -> str:
    """A value with its metric's digits, or `not computed`."""
    return NOT_COMPUTED if value is None else f"{value:.{metric_of(metric).digits}f}"


def _better(metric: str, a: float, b: float) -> bool:
    return a < b if metric_of(metric).lower else a > b


def bicubic_ahead(evaluation: Evaluation, system: str = "ours") -> dict[str, list[str]]:
    """Scales (`x2.7`) at which bicubic scores better than `system`, by metric that both have."""
    table = {(m.scale, m.system, m.metric): m.value for m in means(evaluation)}
    scales = sorted({row.scale for row in evaluation.rows})
    out = {}
    for metric in metrics_of(evaluation.rows):
        pairs = [(s, table.get((s, "bicubic", metric)), table.get((s, system, metric))) for s in scales]
        known = [(s, b, o) for s, b, o in pairs if b is not None and o is not None]
        if known:
            out[metric] = [f"x{s:g}" for s, b, o in known if _better(metric, b, o)]
    return out


def where_bicubic_wins(evaluation: Evaluation, system: str = "ours") -> list[str]:
    """One sentence per metric: at which scales, and on how many photos, bicubic scores better than `system`."""
    out = []
    for metric, lost in bicubic_ahead(evaluation, system).items():
        won, total = _photos_won(evaluation.rows, metric, system)
        where = f"better at {', '.join(lost)}" if lost else "better at no scale"
        out.append(f"{metric}: bicubic is {where}, and on {won} of {total} photos.")
    return out


def _photos_won(rows: Sequence[Row], metric: str, system: str) -> tuple[int, int]:
    baseline = {row.place: row.values.get(metric) for row in rows if row.system == "bicubic"}
    differences = []
    for row in rows:
        value, other = row.values.get(metric), baseline.get(row.place)
        if row.system == system and value is not None and other is not None:
            sign = -1 if metric_of(metric).lower else 1
            differences.append((row.photo, sign * (value - other)))
    averaged = by_photo(differences)
    return int(np.sum(averaged < 0)), len(averaged)


def _grid(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    found = means(evaluation)
    metrics = list(dict.fromkeys(mean.metric for mean in found))
    lines: dict[tuple[float, str], dict[str, str]] = {}
    for mean in found:
        cells = lines.setdefault((mean.scale, mean.system), {})
        cells[mean.metric] = shown(mean.metric, mean.value)
    header = ["scale", "system", *metrics]
    return header, [
        [f"x{s:g}", name, *(cells.get(m, ABSENT) for m in metrics)]
        for (s, name), cells in sorted(lines.items(), key=lambda line: line[0][0])
    ]


def summary(evaluation: Evaluation) -> list[str]:
    """What a reader must know beside the table: photos, scales out of range, missing metrics, bicubic's wins."""
    facts, rows = evaluation.facts, evaluation.rows
    out = [f"Protocol {evaluation.protocol} version {evaluation.version}, {len(photos_of(rows))} photos or samples."]
    if trained := facts.get("trained"):
        outside = [f"x{s:g}" for s in facts.get("scales", []) if not trained[0] <= s <= trained[1]]
        out.append(f"Trained for x{trained[0]:g} to x{trained[1]:g}; out of range: {', '.join(outside) or 'none'}.")
    if "lpips" in metrics_of(rows):
        network = facts.get("lpips")
        out.append(f"LPIPS network: {network}." if network else f"LPIPS: {NOT_COMPUTED} (`lsr data get lpips`).")
    if "fid" in facts and facts["fid"] is None:
        out.append(f"FID: {NOT_COMPUTED} (its Inception weights are not used here).")
    return [*out, *where_bicubic_wins(evaluation), *evaluation.notes]


def markdown(evaluation: Evaluation, title: str = "Evaluation") -> str:
    """The report page: table and summary."""
    header, lines = _grid(evaluation)
    table = [header, ["---"] * len(header), *lines]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    return f"# {title}\n\n{body}\n\n" + "\n".join(f"- {line}" for line in summary(evaluation)) + "\n"
