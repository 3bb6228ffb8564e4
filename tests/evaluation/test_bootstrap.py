"""Intervals over photos: they cover what they promise, and crops or seeds do not make them narrower."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.core.errors import InputError
from lsr.evaluation.bootstrap import interval, measured, paired_difference
from lsr.evaluation.rows import Row

Values = list[tuple[str, float]]


def experiment(
    rng: np.random.Generator, photos: int, seeds: int, gain: float, skewed: bool = False
) -> tuple[Values, Values]:
    """Two systems on the same photos: hard ones are hard for both, `gain` differs between photos."""
    hard = rng.exponential(5, photos) if skewed else rng.normal(0, 5, photos)
    gains = gain + rng.normal(0, 1, photos)

    def scores(shift: np.ndarray) -> Values:
        return [(f"p{i}", 25 + hard[i] + shift[i] + rng.normal(0, 0.2)) for i in range(photos) for _ in range(seeds)]

    return scores(gains), scores(np.zeros(photos))


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_cover_the_truth_about_as_often_as_they_say(skewed: bool) -> None:
    """30 photos, 3 seeds, 300 repetitions: 95 % intervals between 90 and 98 %; two-sided, so that neither an
    interval that is too wide nor one that counts seeds as photos passes.
    """
    rng, hits = np.random.default_rng(int(skewed)), {"mean": 0, "difference": 0, "naive": 0}
    truth = 25 + 0.5 + (5 if skewed else 0)
    for repetition in range(300):
        a, b = experiment(rng, 30, 3, 0.5, skewed)
        one = interval(a, resamples=400, seed=repetition)
        both = paired_difference(a, b, resamples=400, seed=repetition)
        naive = interval([(f"{p}-{i}", v) for i, (p, v) in enumerate(a)], resamples=400, seed=repetition)
        hits["mean"] += one.low <= truth <= one.high
        hits["difference"] += both.low <= 0.5 <= both.high
        hits["naive"] += naive.low <= truth <= naive.high
    assert 0.89 <= hits["mean"] / 300 <= 0.98
    assert 0.90 <= hits["difference"] / 300 <= 0.985
    assert hits["naive"] / 300 < 0.85, "seeds are not photos; this is what resampling them would give"


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    a, b = experiment(np.random.default_rng(0), 40, 3, 1.0)
    paired, alone = paired_difference(a, b), interval(a)
    assert paired.high - paired.low < 0.4 * (alone.high - alone.low)
    assert paired.low > 0
    assert paired.n == alone.n == 40


def test_seeds_are_averaged_first_and_their_numbers_may_differ() -> None:
    a = [("x", 1.0), ("x", 3.0), ("y", 10.0)]
    found = interval(a)
    assert found.mean == pytest.approx((2 + 10) / 2)
    difference = paired_difference(a, [("y", 4.0), ("x", 1.0)])
    assert difference.mean == pytest.approx((1 + 6) / 2)
    assert (difference.low, difference.high) == (1.0, 6.0)
    assert interval(a) == found


def test_other_photos_are_rejected() -> None:
    with pytest.raises(InputError, match="found 1 only in the first and 2 only in the second"):
        paired_difference([("x", 1.0), ("y", 2.0)], [("x", 1.0), ("z", 2.0), ("w", 1.0)])
    with pytest.raises(InputError, match="needs finite values"):
        interval([])


def test_values_are_taken_from_rows_by_system_metric_and_scale() -> None:
    rows = [
        Row(photo=p, crop=0, scale=s, system=n, values={"psnr": v, "lpips": None})
        for p, s, n, v in (("x", 2.0, "a", 1.0), ("x", 4.0, "a", 2.0), ("y", 2.0, "b", 3.0))
    ]
    assert measured(rows, "a", "psnr") == [("x", 1.0), ("x", 2.0)]
    assert measured(rows, "a", "psnr", (4.0,)) == [("x", 2.0)]
    assert measured(rows, "a", "lpips") == []
