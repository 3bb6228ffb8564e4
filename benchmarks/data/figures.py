"""What is made of timings; of the passes of `versus` rates over memory and over the best other side, and verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness import Estimate, Target, estimate

MEMORY = Target(sense="at least", limit=0.95)
BEST = Target(sense="at least", limit=1.0)
OURS = "lsr"
FLOORS = ("memory", "memory_once", "whole")
"""Sides that are no loaders."""

Case = tuple[str, str, int, str]
Answers = Mapping[Case, Sequence[Mapping[str, Any]]]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest to three decimals, for records of few turns."""
    found = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def rate_over(base: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], what: str) -> Estimate:
    """`runs`' rate over `base`'s, turn by turn. what: `seconds` or `cpu_seconds`."""
    return estimate([b[what] / r[what] for b, r in zip(base, runs, strict=True)])


def rows_of(taken: Answers) -> list[dict[str, Any]]:
    """One row a case: medians, and the rate over the same case's `memory`; a side that failed says why."""
    return [_row(case, runs, taken[(*case[:3], "memory")]) for case, runs in taken.items()]


def _row(case: Case, runs: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    place, kind, world, side = case
    name = {"place": place, "kind": kind, "workers": world, "side": side}
    faults = [run["error"] for run in runs if "error" in run]
    if faults:
        return {**name, "error": faults[0]}
    return {
        **name,
        "images_a_second": round(1 / _median(runs, "seconds")),
        "cpu_ms_an_image": round(1000 * _median(runs, "cpu_seconds"), 4),
        "seconds_to_first_batch": round(_median(runs, "first_seconds"), 4),
        "images_read": sorted({run["read"] for run in runs}),
        "cpu_rate_over_memory": _plain(rate_over(base, runs, "cpu_seconds")),
        "wall_rate_over_memory": _plain(rate_over(base, runs, "seconds")),
    }


def verdicts_of(taken: Answers) -> list[dict[str, Any]]:
    """Of every place, kind and number of workers: ours against memory and against the best other loader, by CPU and by
    wall time."""
    found = []
    for place, kind, world in dict.fromkeys(case[:3] for case in taken):
        sides = {case[3]: runs for case, runs in taken.items() if case[:3] == (place, kind, world)}
        sides = {side: runs for side, runs in sides.items() if not any("error" in run for run in runs)}
        if OURS in sides:
            name = {"place": place, "kind": kind, "workers": world}
            found.append({**name, "cpu": _judged(sides, "cpu_seconds"), "wall": _judged(sides, "seconds")})
    return found


def _judged(sides: Mapping[str, Sequence[Mapping[str, Any]]], what: str) -> dict[str, Any]:
    over = rate_over(sides["memory"], sides[OURS], what)
    judged: dict[str, Any] = {"over_memory": {**_plain(over), "verdict": MEMORY.judge(over)}}
    others = [side for side in sides if side != OURS and side not in FLOORS]
    if others:
        best = min(others, key=lambda side: _median(sides[side], what))
        over = rate_over(sides[best], sides[OURS], what)
        judged["over_best_other"] = {"side": best, **_plain(over), "verdict": BEST.judge(over)}
    return judged


def _median(runs: Sequence[Mapping[str, Any]], what: str) -> float:
    return float(statistics.median(run[what] for run in runs))


def _plain(found: Estimate) -> dict[str, float]:
    """median, low, high of `rate_over` and what the interval covers, rounded."""
    return {name: round(getattr(found, name), 3) for name in ("median", "low", "high", "coverage")}
