"""Claim: `lsr --help` answers in under half a second. Reference: `python -c pass`, the interpreter's own start.

The target is absolute; the reference says how much of the time no code of this project can save.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import Target, compare, estimate
from benchmarks.processes import run_fresh
from benchmarks.surroundings import load

PROCESSES = 5


class Side:
    """One command. cpu: CPU seconds of every process so far."""

    def __init__(self, *command: str) -> None:
        self.command = command
        self.cpu: list[float] = []

    def __call__(self) -> float:
        """Wall seconds of one fresh process, the median of PROCESSES of them."""
        spent = [run_fresh(self.command) for _ in range(PROCESSES)]
        self.cpu += [one.cpu for one in spent]
        return statistics.median(one.wall for one in spent)


def main() -> None:
    """Measure and publish."""
    before = load()
    command, python = Side(str(Path(sys.executable).parent / "lsr"), "--help"), Side(sys.executable, "-c", "pass")
    measured = compare(command, python)
    figure = Figure(
        title="wall seconds of `lsr --help`",
        candidate="the installed command in fresh processes",
        reference="`python -c pass`",
        unit=f"one process, the median of {PROCESSES} a side and pair",
        measured=measured,
        value=estimate(measured.candidate),
        target=Target(sense="at most", limit=0.5, unit="s"),
    )
    facts = {
        f"CPU seconds of one `{name}` (median)": round(statistics.median(side.cpu), 3)
        for name, side in (("lsr --help", command), ("python -c pass", python))
    }
    claim = "`lsr --help` answers in under 0.5 s."
    publish(Claim(name="help_time", claim=claim, figures=(figure,), load_before=before, facts=facts))


if __name__ == "__main__":
    main()
