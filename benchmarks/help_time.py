"""Claim: `lsr --help` answers in under half a second. Reference: `python -c pass`, the interpreter's own start.

The target is absolute; the reference says how much of the time no code of this project can save.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import Target, compare, estimate
from benchmarks.surroundings import load

PROCESSES = 5


def _median_seconds(command: list[str]) -> float:
    """Wall seconds of one fresh process, the median of PROCESSES of them."""
    taken = []
    for _ in range(PROCESSES):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    """Measure and publish."""
    before = load()
    python = sys.executable
    measured = compare(
        lambda: _median_seconds([str(Path(python).parent / "lsr"), "--help"]),
        lambda: _median_seconds([python, "-c", "pass"]),
    )
    figure = Figure(
        title="wall seconds of `lsr --help`",
        candidate="the installed command in fresh processes",
        reference="`python -c pass`",
        unit=f"one process, the median of {PROCESSES} a side and pair",
        measured=measured,
        value=estimate(measured.candidate),
        target=Target(sense="at most", limit=0.5, unit="s"),
    )
    publish(
        Claim(name="help_time", claim="`lsr --help` answers in under 0.5 s.", figures=(figure,), load_before=before)
    )


if __name__ == "__main__":
    main()
