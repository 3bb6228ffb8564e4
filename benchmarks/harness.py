"""The one way a ratio is measured: candidate and reference in turns, the median of the pairs, an exact interval.

Runs are ordered A B B A A B B A ..., so that a drift of the machine (heat, a neighbour, a filling cache) falls on both
sides. The interval is one of order statistics: it assumes nothing about how times are distributed. Standard library
only.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

LEAST_PAIRS = 7
PAIRS = 8
CONFIDENCE = 0.95

Side = Callable[[], float]
"""Does the work once and returns what it took: seconds for one unit of work, set-up excluded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The median of n values and an interval that holds the true median with probability `coverage` or more."""

    median: float
    low: float
    high: float
    coverage: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Seconds for one unit of work, pair by pair."""

    candidate: tuple[float, ...]
    reference: tuple[float, ...]

    def cost(self) -> Estimate:
        """Candidate's seconds / reference's: 1.05 is five per cent slower."""
        return estimate([c / r for c, r in zip(self.candidate, self.reference, strict=True)])

    def rate(self) -> Estimate:
        """Candidate's rate / reference's: 0.8 is four fifths as fast."""
        return estimate([r / c for c, r in zip(self.candidate, self.reference, strict=True)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a claim promises of its figure. unit: `x` for a ratio, `s` for seconds."""

    sense: Literal["at least", "at most"]
    limit: float
    unit: Literal["x", "s"] = "x"

    def __str__(self) -> str:
        return f"{self.sense} {self.limit:g} {self.unit}"

    def judge(self, figure: Estimate) -> str:
        """`met`, `missed`, or either with a remark where the interval lies on both sides of the limit."""
        lower, upper = self._holds(figure.low), self._holds(figure.high)
        verdict = "met" if self._holds(figure.median) else "missed"
        return verdict if lower == upper else f"{verdict} by the median, the interval crosses the target"

    def _holds(self, value: float) -> bool:
        return value >= self.limit if self.sense == "at least" else value <= self.limit


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Median of `values` with the narrowest symmetric order-statistic interval of at least `confidence`.

    With fewer than 6 values no such interval exists; then it is their range, and `coverage` says how little that is.
    Raises ValueError when there are no values.
    """
    ordered, n = sorted(values), len(values)
    if n == 0:
        raise ValueError("An estimate needs at least one value, found none.")
    rank = max((r for r in range(1, n // 2 + 1) if _coverage(n, r) >= confidence), default=1)
    return Estimate(
        median=statistics.median(ordered), low=ordered[rank - 1], high=ordered[-rank], coverage=_coverage(n, rank), n=n
    )


def _coverage(n: int, rank: int) -> float:
    """Probability that the true median lies between the rank-th smallest and the rank-th largest of n values."""
    return max(1 - sum(comb(n, i) for i in range(rank)) * 2.0 ** (1 - n), 0.0)


def turns(pairs: int) -> list[tuple[str, str]]:
    """The order inside each pair: A first, B first, B last ... as in ABBA."""
    return [("candidate", "reference") if pair % 2 == 0 else ("reference", "candidate") for pair in range(pairs)]


def compare(candidate: Side, reference: Side, *, pairs: int = PAIRS, warmups: int = 1) -> Measured:
    """Run both sides in ABBA order. warmups: runs of each side before, whose times are thrown away.

    Raises ValueError for fewer than LEAST_PAIRS pairs or a side that says that it took no time.
    """
    if pairs < LEAST_PAIRS:
        raise ValueError(f"A ratio needs at least {LEAST_PAIRS} pairs, found {pairs}.")
    sides = {"candidate": candidate, "reference": reference}
    for _ in range(warmups):
        for side in sides.values():
            side()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number, order in enumerate(turns(pairs), start=1):
        for name in order:
            seconds = sides[name]()
            if seconds <= 0:
                raise ValueError(f"The {name} took {seconds} s; a side must return the seconds of one unit of work.")
            taken[name].append(seconds)
        pair = (taken["candidate"][-1], taken["reference"][-1])
        print(f"pair {number}/{pairs}: candidate {pair[0]:.4g} s, reference {pair[1]:.4g} s", file=sys.stderr)
    return Measured(candidate=tuple(taken["candidate"]), reference=tuple(taken["reference"]))
