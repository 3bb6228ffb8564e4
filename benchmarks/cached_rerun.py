"""Claim: running the flow *retrain* again, with nothing to do, ends in under 15 s, Prefect's start included.

Reference: an empty Prefect flow with the same ephemeral server and database, in a fresh process as well. The line is
made once before, in a temporary LSR_HOME or in the one given by --home.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import Target, compare, estimate
from benchmarks.surroundings import load

RECIPE = "short"
MAKING_SECONDS = 1800


def _environment(home: Path) -> dict[str, str]:
    """This process's environment with nothing of ours but LSR_HOME: the embedded profile."""
    ours = ("LSR_", "MLFLOW_", "PREFECT_", "RAY_")
    return {**{n: v for n, v in os.environ.items() if not n.startswith(ours)}, "LSR_HOME": str(home)}


def _retrain(home: Path) -> tuple[float, dict[str, Any]]:
    """Wall seconds and report of one fresh `lsr retrain`."""
    command = [str(Path(sys.executable).parent / "lsr"), "retrain", "--recipe", RECIPE, "--json"]
    started = time.perf_counter()
    done = subprocess.run(
        command, env=_environment(home), capture_output=True, text=True, check=True, timeout=MAKING_SECONDS
    )
    return time.perf_counter() - started, json.loads(done.stdout)


def _cached(home: Path) -> float:
    seconds, report = _retrain(home)
    made = [stage["stage"] for stage in report["stages"] if stage["made"]]
    if made:
        raise RuntimeError(f"A cached rerun must make nothing, it made {', '.join(made)}; the figure would be void.")
    return seconds


def _empty(home: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.empty_flow"]
    subprocess.run(command, env=_environment(home), capture_output=True, check=True, timeout=300)
    return time.perf_counter() - started


def measure(home: Path) -> Claim:
    """Make the line below `home` if it is not there, then time reruns."""
    making, report = _retrain(home)
    before = load()
    measured = compare(lambda: _cached(home), lambda: _empty(home))
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
        facts={"seconds of the run before (made or reused)": round(making, 1)},
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
