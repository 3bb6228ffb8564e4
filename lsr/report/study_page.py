"""A study as markdown: a table a metric, what was asked and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsr.evaluation.bootstrap import Interval
from lsr.evaluation.metrics import metric as metric_of
from lsr.report.study import (
    BICUBIC,
    Measured,
    Resampling,
    best,
    cell,
    converged,
    difference,
    metrics_in,
    scales_in,
)
from lsr.report.tables import shown

PERCEPTUAL = ("lpips", "dists")
CONSISTENT = 0.98


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the study was set up to answer.

    own_scale, margins, floor: when a comparator has converged. trained: in-range scales. aligned: pairs (with
    alignment, without). variants: pairs (a system with one thing changed, that system). few, many: labels of our system
    with few and many sampler steps; lossless: margin by metric. learned: systems trained here. elsewhere: systems
    trained on other images.
    """

    own_scale: float
    margins: Mapping[str, float]
    floor: float | None
    trained: tuple[float, float]
    aligned: Sequence[tuple[str, str]]
    variants: Sequence[tuple[str, str]]
    few: str
    many: str
    lossless: Mapping[str, float]
    learned: Sequence[str]
    elsewhere: Sequence[str]


def table(measured: Measured, metric: str, systems: Sequence[str], notes: Mapping[str, str], how: Resampling) -> str:
    """Markdown table of one metric: a line a system, a column a scale, `mean [low, high] ±spread between seeds`."""
    scales = scales_in(measured)
    lines = [["system", *(f"x{s:g}" for s in scales)], ["---"] * (len(scales) + 1)]
    for system in systems:
        cells = []
        for scale in scales:
            one = cell(measured, system, scale, metric, how)
            cells.append("-" if one is None else _cell(metric, one.interval, one.spread))
        lines.append([f"{system}{notes.get(system, '')}", *cells])
    sense = "lower is better" if metric_of(metric).lower else "higher is better"
    return f"### {metric} ({sense})\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(metric: str, interval: Interval, spread: float | None) -> str:
    between = "" if spread is None else f" ±{shown(metric, spread)}"
    return f"{shown(metric, interval.mean)} [{shown(metric, interval.low)}, {shown(metric, interval.high)}]{between}"


def _said(metric: str, gain: Interval | None) -> str:
    if gain is None:
        return "not computed"
    sure = "" if gain.low > 0 or gain.high < 0 else ", the interval holds 0"
    return f"{gain.mean:+.{2 if 'psnr' in metric else 4}f} [{gain.low:+.4f}, {gain.high:+.4f}]{sure}"


def answers(measured: Measured, asked: Asked, how: Resampling) -> list[str]:
    """One sentence a finding, good or bad. Differences are signed so that above 0 is better."""
    present = [name for name in asked.learned if name in measured]
    slow = _not_converged(measured, asked, how)
    margin = " or ".join(f"{value:g} {metric}" for metric, value in asked.margins.items())
    margin += "" if asked.floor is None else f", or more than {asked.floor:g} dB below it"
    out = [
        f"Not converged (not better than bicubic at x{asked.own_scale:g} by {margin}): {', '.join(slow) or 'none'}. "
        "No win over these is claimed."
    ]
    fair = [BICUBIC, *(name for name in present if name not in slow)]
    for metric in ("psnr", *PERCEPTUAL):
        winners = {s: best(measured, fair, s, metric, how) for s in scales_in(measured)}
        if any(winners.values()):
            out.append(f"Best {metric}: " + ", ".join(f"x{s:g} {name}" for s, name in winners.items()) + ".")
    changed = [name for name, _ in asked.variants]
    out += _ours_against(measured, "ours", [n for n in fair if n != "ours" and n not in changed], how)
    out += _pooled(measured, asked, asked.aligned, "Alignment", how)
    out += _pooled(measured, asked, asked.variants, "Variant", how)
    out += _chosen(measured, asked, how)
    for metric, allowed in asked.lossless.items():
        gain = difference(measured, asked.few, asked.many, metric, scales_in(measured), how)
        if gain is not None:
            word = "nothing is lost" if gain.low > -allowed else "not shown to lose nothing"
            pair = f"{asked.few} against {asked.many}"
            out.append(f"{pair}, {metric}: {_said(metric, gain)}; margin {allowed:g}: {word}.")
    return [*out, *_consistency(measured, how)]


def _not_converged(measured: Measured, asked: Asked, how: Resampling) -> list[str]:
    return [
        name
        for name in asked.learned
        if name in measured and not converged(measured, name, asked.own_scale, asked.margins, how, asked.floor)
    ]


def _ours_against(measured: Measured, ours: str, others: Sequence[str], how: Resampling) -> list[str]:
    out = []
    for metric in ("psnr", *PERCEPTUAL):
        for other in others:
            gains = [(s, difference(measured, ours, other, metric, [s], how)) for s in scales_in(measured)]
            if all(gain is None for _, gain in gains):
                continue
            said = "; ".join(f"x{s:g} {_said(metric, gain)}" for s, gain in gains)
            out.append(f"{ours} against {other}, {metric}: {said}.")
    return out


def _pooled(
    measured: Measured, asked: Asked, pairs: Sequence[tuple[str, str]], what: str, how: Resampling
) -> list[str]:
    """Differences of pairs over all scales in range, and over all out of range."""
    low, high = asked.trained
    outside = [s for s in scales_in(measured) if not low <= s <= high]
    inside = [s for s in scales_in(measured) if low <= s <= high]
    out = []
    for one, other in pairs:
        for where, scales in (("in range", inside), ("out of range", outside)):
            for metric in ("psnr", *PERCEPTUAL):
                gain = difference(measured, one, other, metric, scales, how) if scales else None
                if gain is not None:
                    out.append(f"{what} ({one} against {other}), {metric} {where}: {_said(metric, gain)}.")
    return out


def _chosen(measured: Measured, asked: Asked, how: Resampling) -> list[str]:
    """Of each system that has variants, the row with the lowest mean LPIPS over all scales."""
    rows: dict[str, list[str]] = {}
    for variant, of in asked.variants:
        rows.setdefault(of, [of]).append(variant)
    out = []
    for of, names in rows.items():
        means = {}
        for name in names:
            cells = [cell(measured, name, s, "lpips", how) for s in scales_in(measured)]
            values = [one.interval.mean for one in cells if one is not None]
            if values and len(values) == len(cells):
                means[name] = sum(values) / len(values)
        if means:
            said = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
            out.append(f"Of {of}, lowest lpips over all scales: {min(means, key=lambda n: means[n])} ({said}).")
    return out


def _consistency(measured: Measured, how: Resampling) -> list[str]:
    out = []
    for name in measured:
        cells = [cell(measured, name, s, "scale_ssim", how) for s in scales_in(measured)]
        worst = min((one for one in cells if one is not None), key=lambda one: one.interval.mean, default=None)
        if worst is not None:
            word = "at least" if worst.interval.mean >= CONSISTENT else "below"
            out.append(
                f"Scale consistency of {name}: lowest mean {worst.interval.mean:.3f} at x{worst.scale:g}, {word} "
                f"{CONSISTENT}."
            )
    return out


def page(
    title: str,
    measured: Measured,
    asked: Asked,
    how: Resampling,
    facts: Sequence[str],
    speed: str = "",
) -> str:
    """The whole page. facts: lines about data, protocol, hardware and commit. speed: a markdown table."""
    slow = _not_converged(measured, asked, how)
    notes = {**dict.fromkeys(slow, " (not converged)"), **dict.fromkeys(asked.elsewhere, " (trained elsewhere)")}
    systems = [BICUBIC, *measured]
    tables = "\n".join(table(measured, metric, systems, notes, how) for metric in metrics_in(measured))
    said = "\n".join(f"- {line}" for line in answers(measured, asked, how))
    head = "\n".join(f"- {line}" for line in facts)
    return f"# {title}\n\n{head}\n\n## What came out\n\n{said}\n\n## Tables\n\n{tables}\n{speed}"
