"""From a measurement to a record: what was promised, what was found, on what. Printed, and written to `results/`.

A script measures one claim and calls `publish`. The page `results/README.md` is drawn from all records, so it cannot
disagree with them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import Estimate, Measured, Target
from benchmarks.surroundings import ROOT, code, load, machine

RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured figure of a claim. candidate, reference: what each side did, one phrase. value: what is held against
    the target (None: context only). measured: both sides' seconds for one `unit` of work.
    """

    title: str
    candidate: str
    reference: str
    unit: str
    measured: Measured
    value: Estimate
    target: Target | None = None

    @property
    def verdict(self) -> str:
        return self.target.judge(self.value) if self.target else "no target"

    def as_plain(self) -> dict[str, Any]:
        """Plain data for the record."""
        plain = {name: getattr(self, name) for name in ("title", "candidate", "reference", "unit")}
        target = {"text": str(self.target), "unit": self.target.unit} if self.target else None
        seconds = {side: list(getattr(self.measured, side)) for side in ("candidate", "reference")}
        return {**plain, "value": asdict(self.value), "target": target, "verdict": self.verdict, "seconds": seconds}


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One script's result. claim: the sentence it examines. facts: other numbers worth keeping, by name. cause: why a
    target is missed, as far as it is known.
    """

    name: str
    claim: str
    figures: tuple[Figure, ...]
    load_before: float
    facts: Mapping[str, float | int | str] = field(default_factory=dict)
    cause: str = ""


def publish(claim: Claim, results: Path = RESULTS) -> dict[str, Any]:
    """Print the claim, write its record below `results` and draw the page again; the record."""
    record = {
        "name": claim.name,
        "claim": claim.claim,
        "figures": [figure.as_plain() for figure in claim.figures],
        "facts": dict(claim.facts),
        "cause": claim.cause,
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": {"before": claim.load_before, "after": load()},
        **asdict(code()),
        "machine": asdict(machine()),
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{claim.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (results / "README.md").write_text(page(results))
    print(section(record))
    return record


def page(results: Path = RESULTS) -> str:
    """The page over every record in `results`, by name."""
    records = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    head = (
        "# Results\n\nDrawn from the records beside this page by `python -m benchmarks.NAME`. Each figure is the "
        "median over ABBA pairs with an order-statistic interval. Everything here is measured, nothing projected.\n"
    )
    return "\n".join([head, *(section(record) for record in records)])


def section(record: Mapping[str, Any]) -> str:
    """One claim as markdown: its figures, its facts, what it was measured on."""
    lines = [f"## {record['name']}", "", record["claim"], ""]
    lines += [
        "| figure | median [interval] | target | verdict | candidate s | reference s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(figure) for figure in record["figures"]]
    lines.append("")
    for figure in record["figures"]:
        lines.append(
            f"- {figure['title']}: {figure['candidate']}, against {figure['reference']}; s for {figure['unit']}."
        )
    lines += [f"- {name}: {value}" for name, value in record["facts"].items()]
    if record["cause"]:
        lines.append(f"- Cause: {record['cause']}")
    return "\n".join([*lines, "", _surroundings(record), ""])


def _row(figure: Mapping[str, Any]) -> str:
    value, target = figure["value"], figure["target"]
    unit = target["unit"] if target else "x"
    seconds = figure["seconds"]
    middle = {side: statistics.median(seconds[side]) for side in seconds}
    interval = f"{value['median']:.3f} {unit} [{value['low']:.3f}, {value['high']:.3f}] {value['coverage']:.1%}"
    told = f"{target['text']}" if target else "none"
    return (
        f"| {figure['title']} | {interval}, n = {value['n']} | {told} | {figure['verdict']} "
        f"| {middle['candidate']:.4g} | {middle['reference']:.4g} |"
    )


def _surroundings(record: Mapping[str, Any]) -> str:
    on, at = record["machine"], record["load"]
    versions = ", ".join(f"{name} {version}" for name, version in on["packages"].items())
    state = f"{record['commit']}{' with uncommitted changes' if record['dirty'] else ''}"
    return (
        f"{record['when']}, commit {state}; {on['cpu']}, {on['cores']} cores, {on['memory_gib']} GiB, {on['system']}, "
        f"Python {on['python']}, {versions}; load {at['before']} before, {at['after']} after."
    )
