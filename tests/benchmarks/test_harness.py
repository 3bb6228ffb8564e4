"""The harness's arithmetic: order, medians, exact intervals, verdicts. Nothing here is timed."""

from __future__ import annotations

import json
from itertools import pairwise
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.claims import Claim, Figure, page, publish
from benchmarks.harness import Measured, Target, compare, estimate, turns


def test_sides_are_interleaved_as_abba() -> None:
    assert [side[0] for order in turns(4) for side in order] == list("crrccrrc")


def test_both_sides_run_in_turns_and_warm_ups_do_not_count() -> None:
    calls: list[str] = []
    times = {"a": iter([99.0, *range(1, 9)]), "b": iter([99.0, *range(2, 18, 2)])}

    def side(name: str) -> float:
        calls.append(name)
        return float(next(times[name]))

    measured = compare(lambda: side("a"), lambda: side("b"), pairs=8, warmups=1)
    assert "".join(calls) == "ab" + "abba" * 4
    assert measured.candidate == tuple(float(t) for t in range(1, 9))
    assert measured.cost().median == 0.5
    assert measured.rate().median == 2.0


def test_too_few_pairs_and_a_side_without_a_time_are_rejected() -> None:
    with pytest.raises(ValueError, match="at least 7 pairs"):
        compare(lambda: 1.0, lambda: 1.0, pairs=6)
    with pytest.raises(ValueError, match="reference took 0"):
        compare(lambda: 1.0, lambda: 0.0, warmups=0)


def test_the_ratio_is_taken_pair_by_pair() -> None:
    """A machine that becomes ten times slower half-way changes both sides of a pair and no ratio."""
    drift = [1.0, 1.0, 1.0, 1.0, 10.0, 10.0, 10.0, 10.0]
    measured = Measured(candidate=tuple(2 * d for d in drift), reference=tuple(drift))
    found = measured.cost()
    assert (found.low, found.median, found.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (7, 1), (8, 1), (9, 2), (12, 3), (20, 6)])
def test_the_interval_is_the_narrowest_of_order_statistics_that_covers(n: int, rank: int) -> None:
    found = estimate([float(i) for i in range(1, n + 1)])
    assert (found.low, found.high) == (rank, n + 1 - rank)
    outside = sum(comb(n, i) for i in range(rank)) / 2**n
    assert found.coverage == pytest.approx(1 - 2 * outside)
    assert found.coverage >= 0.95


def test_few_values_give_their_range_and_say_how_little_it_covers() -> None:
    found = estimate([3.0, 1.0, 2.0])
    assert (found.low, found.median, found.high, found.n) == (1.0, 2.0, 3.0, 3)
    assert found.coverage == pytest.approx(0.75)
    assert estimate([1.0]).coverage == 0.0
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])


@given(st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=40))
def test_the_median_lies_in_its_interval_whatever_the_order(values: list[float]) -> None:
    found = estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert estimate(sorted(values, reverse=True)) == found


@pytest.mark.parametrize(
    ("sense", "ratios", "verdict"),
    [
        ("at least", (0.8, 0.9, 1.0), "met"),
        ("at least", (0.5, 0.6, 0.7), "missed"),
        ("at least", (0.7, 0.8, 0.9), "met by the median, the interval crosses the target"),
        ("at most", (0.7, 0.75, 0.9), "met by the median, the interval crosses the target"),
        ("at most", (0.7, 0.85, 0.9), "missed by the median, the interval crosses the target"),
        ("at most", (0.5, 0.6, 0.8), "met"),
    ],
)
def test_a_verdict_says_when_the_interval_does_not_decide(sense: str, ratios: tuple[float, ...], verdict: str) -> None:
    target = Target(sense=sense, limit=0.8)  # type: ignore[arg-type]
    assert target.judge(estimate(ratios)) == verdict


def claim(name: str) -> Claim:
    """A claim that misses its target."""
    measured = Measured(candidate=(2.0,) * 8, reference=(1.0,) * 8)
    figure = Figure(
        title="cost of x",
        candidate="ours",
        reference="theirs",
        unit="one x",
        measured=measured,
        value=measured.cost(),
        target=Target(sense="at most", limit=1.05),
    )
    return Claim(name=name, claim="x is cheap.", figures=(figure,), load_before=0.5, cause="It is not.")


def test_a_record_says_what_was_measured_on_what_and_the_page_shows_every_record(tmp_path: Path) -> None:
    publish(claim("second"), tmp_path)
    record = publish(claim("first"), tmp_path)
    assert record == json.loads((tmp_path / "first.json").read_text())
    assert record["figures"][0]["seconds"]["candidate"] == [2.0] * 8
    assert record["figures"][0]["verdict"] == "missed"
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["memory_gib"] > 0
    assert {"commit", "dirty", "load", "when"} <= record.keys()
    text = (tmp_path / "README.md").read_text()
    assert text == page(tmp_path)
    places = [text.index(part) for part in ("## first", "It is not.", record["machine"]["cpu"], "## second")]
    assert all(a < b for a, b in pairwise(places))
