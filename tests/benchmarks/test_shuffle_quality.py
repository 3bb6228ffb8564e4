"""The figures of the shuffle, where they are known: no shuffle at all, and a uniform permutation."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.data.shuffle_quality import BATCH, of
from lsr.data.order import SampleOrder

SHARDS = 64
SHARD_OF = np.repeat(np.arange(SHARDS), BATCH)


def test_batches_that_are_shards_have_the_worst_figures() -> None:
    epochs = [np.random.default_rng(seed).permutation(SHARDS)[:, None] * BATCH + np.arange(BATCH) for seed in range(3)]
    found = of([epoch.ravel() for epoch in epochs], SHARD_OF, 1)
    assert found.shards_in_a_batch == 1
    assert found.pairs_met_again == 1
    values = np.random.default_rng(0).normal(size=SHARDS)
    assert found.variance_of_batch_means == pytest.approx(values.var())


def test_uniform_permutations_have_the_figures_of_theory() -> None:
    rng = np.random.default_rng(3)
    found = of([rng.permutation(SHARDS * BATCH) for _ in range(6)], SHARD_OF, None)
    samples = SHARDS * BATCH
    assert found.pairs_met_again == pytest.approx((BATCH - 1) / (samples - 1), rel=0.1)
    expected = np.random.default_rng(0).normal(size=SHARDS).var() / BATCH * (samples - BATCH) / (samples - 1)
    assert found.variance_of_batch_means == pytest.approx(expected, rel=0.15)


def test_a_window_of_all_shards_is_as_good_as_uniform_and_a_small_one_is_worse() -> None:
    samples = SHARDS * BATCH
    qualities = {}
    for window in (2, 8, SHARDS):
        order = SampleOrder([BATCH] * SHARDS, "d", 0, window)
        qualities[window] = of([order.indices(e * samples, (e + 1) * samples) for e in range(6)], SHARD_OF, window)
    rng = np.random.default_rng(4)
    uniform = of([rng.permutation(samples) for _ in range(6)], SHARD_OF, None)
    ratios = [qualities[w].variance_of_batch_means / uniform.variance_of_batch_means for w in (2, 8, SHARDS)]
    assert ratios[0] > 2 * ratios[1] > 4
    assert ratios[2] == pytest.approx(1, rel=0.15)
