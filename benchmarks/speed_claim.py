"""Claim of both papers: a latent system's cost hardly grows with the output, IDM's grows with its area (Table 5).

Seconds per image and peak memory at x8 to x200 from 16 x 16 pixels, for IDM, System A as published and ours, at the
published sizes with UNTRAINED weights: time does not depend on their values. An image is never made whole: network
calls are timed (20 after a warm-up, fewer where one takes over 20 s) and multiplied by the calls that an image needs,
so seconds per image are EXTRAPOLATED. Each (system, scale) is a process of its own and a file of its own in
`results/speed_claim/`; files that are there are not measured again, so the whole can be run in pieces.

    python -m benchmarks.speed_claim --up-to 12        then        python -m benchmarks.speed_claim

A size whose memory, by a line through the two sizes before it, would pass the limit is not tried, and the record says
at which side it would; nor is one larger than a size that failed. `--again` measures anew.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.claims import RESULTS
from benchmarks.processes import run_fresh
from benchmarks.surroundings import code, load, machine

SCALES = (8.0, 12.0, 30.0, 100.0, 200.0)
LR_SIDE = 16
LIMIT_GIB = 16.0
CHILD_SECONDS = 3600.0

STEPS = {"idm": (2000, 200), "system-a": (200,), "ours": (50, 10)}
"""Network calls an image needs. IDM: its ancestral sampler, and its DDIM option. System A: its DDIM default. Ours: the
default DDIM, and the few steps of DPM-Solver++. The paper does not state the steps of its Table 5."""

Record = dict[str, Any]
Measure = Callable[[str, float], Record]


def child(device: str, calls: int, limit_gib: float) -> Measure:
    """Measures one (system, scale) in a fresh process."""

    def run(system: str, scale: float) -> Record:
        words = [system, f"{scale:g}", "--calls", str(calls), "--device", device, "--limit-gib", f"{limit_gib + 2:g}"]
        done = run_fresh([sys.executable, "-m", "benchmarks.speed_systems", *words], limit=CHILD_SECONDS)
        found: Record = json.loads(done.output.strip().splitlines()[-1])
        return found

    return run


def memory_line(before: Sequence[Record]) -> tuple[float, float]:
    """(MiB at no pixels, MiB a pixel) by the two largest measured sizes; by one size, all above its weights is taken
    to grow with the area.
    """
    known = sorted((r for r in before if "peak_mib" in r), key=lambda r: float(r["side"]))
    if not known:
        return 0.0, 0.0
    last = known[-1]
    if len(known) == 1:
        return last["weights_mib"], (last["peak_mib"] - last["weights_mib"]) / last["side"] ** 2
    other = known[-2]
    slope = max(0.0, (last["peak_mib"] - other["peak_mib"]) / (last["side"] ** 2 - other["side"] ** 2))
    return last["peak_mib"] - slope * last["side"] ** 2, slope


def skipped(before: Sequence[Record], side: int, limit_gib: float) -> Record | None:
    """What is recorded in place of a measurement that would need more than the limit, by the fitted line or because a
    smaller one already failed; None where it fits.
    """
    failed = next((r["side"] for r in before if "failed" in r), None)
    if failed is not None:
        return {"side": side, "failed": f"not tried, {failed} px already fail"}
    base, slope = memory_line(before)
    estimate = (base + slope * side**2) / 1024
    if estimate <= limit_gib:
        return None
    largest = int(math.sqrt((limit_gib * 1024 - base) / slope))
    return {"side": side, "estimated_gib": round(estimate, 1), "limit_gib": limit_gib, "largest_side": largest}


def seconds_per_image(record: Record, steps: int) -> float:
    """Sum over the parts of median seconds times how often an image needs the part."""
    each = ((statistics.median(p["seconds"]), steps if p["times"] is None else p["times"]) for p in record["parts"])
    return float(sum(seconds * times for seconds, times in each))


def collect(folder: Path, measure: Measure, scales: Sequence[float], *, limit_gib: float, again: bool) -> list[Record]:
    """Every record up to the largest of `scales`, measured where its file is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    for scale in scales:
        for system in STEPS:
            path = folder / f"{system}-x{scale:g}.json"
            if again or not path.exists():
                before = [r for r in records if r["system"] == system]
                found = skipped(before, round(LR_SIDE * scale), limit_gib) or _measured(measure, system, scale)
                path.write_text(json.dumps({"system": system, "scale": scale, **found}, indent=1) + "\n")
            records.append(json.loads(path.read_text()))
            print(f"{system} x{scale:g}: {_told(records[-1])}", file=sys.stderr)
    return records


def _measured(measure: Measure, system: str, scale: float) -> Record:
    before = load()
    found = measure(system, scale)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {**found, "when": when, "load": [before, load()], **asdict(code()), "machine": asdict(machine())}


def _told(record: Record) -> str:
    """One cell: why there is no figure, or the time of one network call."""
    if "estimated_gib" in record:
        most = record["largest_side"]
        return f"{record['estimated_gib']:g} GiB estimated; {record['limit_gib']:g} GiB are passed above side {most}"
    if "failed" in record:
        return str(record["failed"]).partition(":")[0]
    (network,) = (p for p in record["parts"] if p["times"] is None)
    return f"{statistics.median(network['seconds']):.3g} s a call (n = {len(network['seconds'])})"


def page(records: Sequence[Record]) -> str:
    """The tables as markdown."""
    scales = sorted({float(r["scale"]) for r in records})
    at = {(r["system"], float(r["scale"])): r for r in records}
    head = "| | " + " | ".join(f"x{s:g}, {round(LR_SIDE * s)} px" for s in scales) + " |"
    rule = "|---|" + "---|" * len(scales)

    def table(rows: dict[str, Callable[[float], str]]) -> list[str]:
        return [
            head,
            rule,
            *("| " + " | ".join([name, *(cell(s) for s in scales)]) + " |" for name, cell in rows.items()),
        ]

    def cells(system: str, text: Callable[[Record], str]) -> Callable[[float], str]:
        return lambda s: _cell(at.get((system, s)), text)

    def image(system: str, steps: int) -> Callable[[float], str]:
        return cells(system, lambda r: f"{seconds_per_image(r, steps):.4g}")

    def ratio(system: str, steps: int, other: str, others: int) -> Callable[[float], str]:
        def cell(scale: float) -> str:
            over = at.get((other, scale))
            if over is None or "parts" not in over:
                return "not measured"
            base = seconds_per_image(over, others)
            return _cell(at.get((system, scale)), lambda r: f"{seconds_per_image(r, steps) / base:.3g}")

        return cell

    variants = [(system, steps) for system, counts in STEPS.items() for steps in counts]
    lines = [
        *("# Speed claim", "", (__doc__ or "").partition("\n\n")[2].partition("\n\n    python")[0], ""),
        *("## Seconds per image, extrapolated", ""),
        *table({f"{system}, {steps} steps": image(system, steps) for system, steps in variants}),
        *("", "## One network call, measured", "", *table({s: cells(s, _told) for s in STEPS})),
        *("", "## Peak memory, MiB", "", *table({s: cells(s, lambda r: f"{r['peak_mib']:.0f}") for s in STEPS})),
        *("", "## Ratios of seconds per image", ""),
        *table(
            {
                "idm 2000 steps / system-a 200": ratio("idm", 2000, "system-a", 200),
                "idm 200 steps / system-a 200": ratio("idm", 200, "system-a", 200),
                "system-a 200 steps / ours 10": ratio("system-a", 200, "ours", 10),
            }
        ),
        *("", *_surroundings(records), ""),
    ]
    return "\n".join(lines)


def _cell(record: Record | None, text: Callable[[Record], str]) -> str:
    if record is None:
        return "not measured"
    return text(record) if "parts" in record else _told(record)


def _surroundings(records: Sequence[Record]) -> list[str]:
    """What it was measured on; a mixture of machines or commits is said, for then ratios are not of one run."""
    measured = [r for r in records if "parts" in r]
    places = sorted({f"{r['device']} on {r['machine']['cpu']}, {r['threads']} threads" for r in measured})
    commits = sorted({f"{r['commit']}{' with uncommitted changes' if r['dirty'] else ''}" for r in measured})
    counts = {r["system"]: f"{r['parameters'] / 1e6:.1f} M" for r in measured}
    lines = [f"Parameters: {', '.join(f'{name} {count}' for name, count in counts.items())}."]
    lines.append(f"Measured {', '.join(places)}; commit {', '.join(commits)}.")
    loads = [value for r in measured for value in r["load"]]
    if loads:
        times = sorted(r["when"] for r in measured)
        lines.append(f"Between {times[0]} and {times[-1]}; load between {min(loads)} and {max(loads)}.")
    if len(places) > 1 or len(commits) > 1:
        lines.append("The records are of more than one machine or commit, so the ratios are not of one run.")
    return lines


def main() -> None:
    """Measure what is missing, write the tables."""
    words = argparse.ArgumentParser(description="Seconds per image and memory of IDM, System A and ours.")
    words.add_argument("--up-to", type=float, default=max(SCALES), help="largest scale")
    words.add_argument("--calls", type=int, default=20, help="timed calls of each part")
    words.add_argument("--device", default="cpu", help="cpu or cuda")
    words.add_argument("--limit-gib", type=float, default=LIMIT_GIB, help="memory that may be used")
    words.add_argument("--again", action="store_true", help="measure anew what is there")
    words.add_argument("--folder", type=Path, default=RESULTS / "speed_claim", help="where records go")
    told = words.parse_args()
    scales = [scale for scale in SCALES if scale <= told.up_to] or [told.up_to]
    run = child(told.device, told.calls, told.limit_gib)
    records = collect(told.folder, run, scales, limit_gib=told.limit_gib, again=told.again)
    (told.folder / "README.md").write_text(page(records))
    print(page(records))


if __name__ == "__main__":
    main()
