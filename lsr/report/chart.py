"""Curves over scale as inline SVG, without a script: a mark shows its value on hover and on focus.

Everything that comes from rows is escaped; colours are classes that the page's style sheet gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from lsr.evaluation.bootstrap import Interval
from lsr.report.tables import shown

WIDTH, HEIGHT = 320, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 22, 30
NEAREST = 34
"""Distance between labels on the scale axis below which one of them is left out."""

COLOURS = 8
MARKS = ("circle", "square", "diamond", "triangle")
Points = Sequence[tuple[float, Interval]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """From values to places: scales on a logarithmic axis, values on a linear one."""

    scales: tuple[float, float]
    values: tuple[float, float]

    def x(self, scale: float) -> float:
        low, high = (math.log(bound) for bound in self.scales)
        share = (math.log(scale) - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.values
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def mark_of(number: int) -> str:
    """The shape of the series `number`, so that colour is not all that tells series apart."""
    return MARKS[number % len(MARKS)]


def swatch(number: int) -> str:
    """The mark of a series alone, for a legend."""
    shape = _mark(mark_of(number), 8, 8)
    return f'<svg class="swatch s{number % COLOURS}" viewBox="0 0 16 16" width="16" height="16">{shape}</svg>'


def chart(metric: str, series: Mapping[str, Points], *, trained: tuple[float, float] | None = None) -> str:
    """SVG of `metric` over scale: a line, marks and bootstrap intervals for every system, the trained range shaded.

    series: by system, points in the order of scale; the position of a system is its colour and mark. Empty string when
    there is no point at all.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    axes = _axes(points)
    body = [_band(axes, trained), *_grid(axes, sorted({scale for scale, _ in points}), metric)]
    body += [_line(axes, line, number) for number, line in enumerate(series.values())]
    # Marks come after all lines, so that no line covers one.
    for number, (system, line) in enumerate(series.items()):
        body += [_point(axes, metric, system, number, scale, found) for scale, found in line]
    label = escape(f"{metric} over scale for {', '.join(series)}; the table below holds the same values")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{label}">{"".join(body)}</svg>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`, low < high."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _axes(points: Points) -> Axes:
    low = min(found.low for _, found in points)
    high = max(found.high for _, found in points)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    marks = ticks(low, high)
    scales = [scale for scale, _ in points]
    return Axes(scales=(min(scales), max(scales)), values=(marks[0], marks[-1]))


def _band(axes: Axes, trained: tuple[float, float] | None) -> str:
    if trained is None:
        return ""
    low, high = axes.scales
    start, end = max(trained[0], low), min(trained[1], high)
    if start > end:
        return ""
    left = LEFT if start <= low else axes.x(start)
    width = max(axes.x(end) - left, 2)
    return f'<rect class="band" x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'


def _grid(axes: Axes, scales: Sequence[float], metric: str) -> list[str]:
    out = []
    levels = ticks(*axes.values)
    digits = max(0, -math.floor(math.log10(levels[1] - levels[0]) + 1e-9))
    for level in levels:
        y = axes.y(level)
        out.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:.{digits}f}</text>')
    last = -math.inf
    for scale in scales:
        x = axes.x(scale)
        if x - last < NEAREST:
            continue
        last = x
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        out.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 9}" text-anchor="{anchor}">x{scale:g}</text>')
    return out


def _line(axes: Axes, points: Points, number: int) -> str:
    places = " ".join(f"{axes.x(scale):.1f},{axes.y(found.mean):.1f}" for scale, found in points)
    return f'<polyline class="line s{number % COLOURS}" points="{places}"/>'


def _point(axes: Axes, metric: str, system: str, number: int, scale: float, found: Interval) -> str:
    x, y = axes.x(scale), axes.y(found.mean)
    said = f"{system} x{scale:g}: {shown(metric, found.mean)}"
    whole = f"{said} ({shown(metric, found.low)} to {shown(metric, found.high)})" if found.n > 1 else said
    whisker = ""
    if found.n > 1:
        top, bottom = axes.y(found.high), axes.y(found.low)
        whisker = f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
    return (
        f'<g class="point s{number % COLOURS}" tabindex="0" role="img" aria-label="{escape(whole)}">'
        f"{whisker}{_mark(mark_of(number), x, y)}"
        f'<circle class="reach" cx="{x:.1f}" cy="{y:.1f}" r="11"/>'
        f'<text class="value" x="{WIDTH - RIGHT}" y="{TOP - 8}" text-anchor="end">{escape(said)}</text></g>'
    )


def _mark(shape: str, x: float, y: float) -> str:
    if shape == "circle":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if shape == "square":
        return f'<rect class="mark" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
    corners = {
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "triangle": ((0, -5), (4.5, 4), (-4.5, 4)),
    }[shape]
    return f'<polygon class="mark" points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}"/>'
