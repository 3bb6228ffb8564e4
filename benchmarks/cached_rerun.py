"""Claim: running the flow *retrain* again, with nothing to do, ends in under 15 s, Prefect's start included.

Reference: an empty Prefect flow with the same ephemeral server and database, in a fresh process as well. The pipeline
is run once before, in a temporary LSR_HOME or in the one given by --home.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import Target, compare, estimate
from benchmarks.processes import Spent, run_fresh
from benchmarks.surroundings import load

RECIPE = "short"
MAKING_SECONDS = 1800


def _environment(home: Path) -> dict[str, str]:
    """This process's environment with nothing of ours but LSR_HOME: the embedded profile."""
    ours = ("LSR_", "MLFLOW_", "PREFECT_", "RAY_")
    return {**{n: v for n, v in os.environ.items() if not n.startswith(ours)}, "LSR_HOME": str(home)}


class Bench:
    """Both sides on one LSR_HOME. cpu: CPU seconds of every timed process, by side."""

    def __init__(self, home: Path) -> None:
        self._environment = _environment(home)
        self.cpu: dict[str, list[float]] = {"cached `lsr retrain`": [], "empty flow": []}

    def retrain(self) -> tuple[Spent, dict[str, Any]]:
        """One fresh `lsr retrain` and its report."""
        command = [str(Path(sys.executable).parent / "lsr"), "retrain", "--recipe", RECIPE, "--json"]
        spent = run_fresh(command, self._environment, MAKING_SECONDS)
        return spent, json.loads(spent.output)

    def candidate(self) -> float:
        """Wall seconds of a rerun. Raises RuntimeError when it had something to make."""
        spent, report = self.retrain()
        made = [stage["stage"] for stage in report["stages"] if stage["made"]]
        if made:
            raise RuntimeError(f"A cached rerun must make nothing, it made {', '.join(made)}; the figure is void.")
        self.cpu["cached `lsr retrain`"].append(spent.cpu)
        return spent.wall

    def reference(self) -> float:
        """Wall seconds of an empty flow."""
        spent = run_fresh([sys.executable, "-m", "benchmarks.empty_flow"], self._environment)
        self.cpu["empty flow"].append(spent.cpu)
        return spent.wall


def measure(home: Path) -> Claim:
    """Run the pipeline below `home` if it is not there, then time reruns."""
    bench = Bench(home)
    making, report = bench.retrain()
    before = load()
    measured = compare(bench.candidate, bench.reference)
    figure = Figure(
        title="wall seconds of a cached `lsr retrain`",
        candidate=f"`lsr retrain --recipe {RECIPE} --json`, all {len(report['stages'])} stages reused",
        reference="an empty Prefect flow with the ephemeral server",
        unit="one fresh process",
        measured=measured,
        value=estimate(measured.candidate),
        target=Target(sense="at most", limit=15.0, unit="s"),
    )
    return Claim(
        name="cached_rerun",
        claim="A fully cached rerun of the flow `retrain` ends in under 15 s, Prefect's start included.",
        figures=(figure,),
        load_before=before,
        facts={
            "seconds of the run before (made or reused)": round(making.wall, 1),
            **{f"CPU seconds of one {name} (median)": round(statistics.median(c), 2) for name, c in bench.cpu.items()},
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="an LSR_HOME to use and keep instead of a temporary one")
    home: Path | None = parser.parse_args(arguments).home
    if home is not None:
        publish(measure(home.absolute()))
        return
    with tempfile.TemporaryDirectory(prefix="lsr-bench-") as folder:
        publish(measure(Path(folder) / "home"))


if __name__ == "__main__":
    main()
