"""The sample order: exact permutations an epoch, endless, and the same for any way of asking."""

from __future__ import annotations

from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.core.errors import ConfigError, InputError
from lsr.data.order import SampleOrder, micro_batches, rank_positions, share_of

counts = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda c: sum(c) > 0)
orders = st.tuples(counts, st.text("abcdef0123456789", max_size=8), st.integers(0, 2**31), st.integers(1, 14))


@given(orders, st.integers(0, 5))
def test_every_epoch_meets_every_sample_exactly_once(asked, epoch) -> None:
    order = SampleOrder(*asked)
    positions = range(epoch * order.samples, (epoch + 1) * order.samples)
    assert sorted(map(order.at, positions)) == list(range(sum(asked[0])))


@given(orders, st.integers(1, 17), st.integers(1, 12))
def test_batches_continue_across_epoch_ends_with_nothing_dropped_or_padded(asked, size, batches) -> None:
    order = SampleOrder(*asked)
    in_batches = [index for number in range(batches) for index in order.batch(number, size)]
    assert in_batches == [order.at(position) for position in range(batches * size)]


@given(orders, st.lists(st.integers(0, 200), min_size=1, max_size=30))
def test_the_order_does_not_depend_on_what_was_asked_before(asked, positions) -> None:
    order = SampleOrder(*asked)
    together = {position: order.at(position) for position in positions}
    assert together == {position: SampleOrder(*asked).at(position) for position in positions}


@settings(max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=4, max_size=12), st.integers(0, 99), st.integers(1, 4))
def test_samples_stay_inside_their_window_of_shards(shard_counts, seed, window) -> None:
    order = SampleOrder(shard_counts, "set", seed, window)
    owner = np.repeat(np.arange(len(shard_counts)), shard_counts)
    shards = [int(owner[order.at(position)]) for position in range(order.samples)]
    start = 0
    while start < order.samples:
        held: set[int] = set()
        end = start
        while end < order.samples and (shards[end] in held or len(held) < window):
            held.add(shards[end])
            end += 1
        assert end - start == sum(shard_counts[s] for s in held)
        start = end


@given(orders, st.integers(0, 100), st.integers(0, 60))
def test_a_range_of_positions_is_its_single_positions(asked, start, count) -> None:
    order = SampleOrder(*asked)
    assert order.indices(start, start + count).tolist() == [order.at(p) for p in range(start, start + count)]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 99), st.integers(1, 5))
def test_the_shards_that_follow_are_those_of_the_next_window(shard_counts, seed, window) -> None:
    order = SampleOrder(shard_counts, "set", seed, window)
    owner = np.repeat(np.arange(len(shard_counts)), shard_counts)
    size, position, before = order.samples, 0, 0
    windows: list[list[int]] = []
    while len(windows) < 8:
        # The first sample of a shard that the window before did not hold, up to the window's or the epoch's end.
        epoch_end = (position // size + 1) * size
        shards = list(dict.fromkeys(int(owner[i]) for i in order.indices(position, epoch_end)))
        held = shards[:window]
        windows.append(held)
        stop = position + sum(shard_counts[s] for s in held)
        assert {int(owner[i]) for i in order.indices(position, stop)} == set(held)
        if len(windows) > 1:
            assert sorted(order.shards_after(before)) == sorted(held)
            assert order.shards_after(before) == order.shards_after(position - 1)
        before, position = position, stop


def test_epochs_seeds_and_data_sets_differ() -> None:
    def epoch(number: int = 0, digest: str = "a", seed: int = 1) -> list[int]:
        order = SampleOrder([50, 50, 50], digest, seed, 2)
        return [order.at(position) for position in range(number * 150, (number + 1) * 150)]

    assert len({tuple(epoch()), tuple(epoch(1)), tuple(epoch(digest="b")), tuple(epoch(seed=2))}) == 4
    assert epoch() != sorted(epoch())


def test_the_order_is_pinned() -> None:
    """A changed order would silently break every resumed run: these numbers must never change."""
    order = SampleOrder([4, 3, 5], "0123abcd", 7, 2)
    assert [order.at(position) for position in range(24)] == PINNED


def test_a_billion_samples_are_planned_from_shard_counts_alone() -> None:
    order = SampleOrder([2500] * 400_000, "big", 0, 8)
    found = order.batch(3, 64)
    assert order.samples == 10**9
    assert len({index // 2500 for index in found}) <= 8
    assert len(set(found)) == 64


@given(st.integers(1, 40), st.integers(1, 40), st.none() | st.integers(1, 50))
def test_shares_and_micro_batches_cut_a_batch_without_gap_or_overlap(batch, world, size) -> None:
    world = min(world, batch)
    shares = [share_of(batch, rank, world) for rank in range(world)]
    assert [place for share in shares for place in share] == list(range(batch))
    assert {len(share) for share in shares} <= {batch // world, -(-batch // world)}
    for share in shares:
        parts = micro_batches(share, size)
        assert [place for part in parts for place in part] == list(share)
        assert {len(part) for part in parts[:-1]} <= {size}
        assert 1 <= len(parts[-1]) <= (size or len(share))


@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 100), st.integers(1, 5))
def test_the_positions_of_all_ranks_together_are_all_from_the_start_on(batch, world, start, batches) -> None:
    world, end = min(world, batch), (start // batch + batches) * batch
    ranks = [
        list(takewhile(lambda position: position < end, rank_positions(start, batch, rank, world)))
        for rank in range(world)
    ]
    assert all(positions == sorted(positions) for positions in ranks)
    assert sorted(position for positions in ranks for position in positions) == list(range(start, end))


@pytest.mark.parametrize(("world", "rank"), [(5, 0), (0, 0), (4, 4), (4, -1)])
def test_ranks_that_cannot_be_are_rejected(world: int, rank: int) -> None:
    says = f"found rank {rank} of {world}" if world == 4 else f"found {world} processes and a batch of 4; start fewer"
    with pytest.raises(ConfigError, match=says):
        share_of(4, rank, world)


def test_faults_are_sentences() -> None:
    with pytest.raises(ConfigError, match="window must be at least 1 shard, found 0"):
        SampleOrder([1], "d", 0, 0)
    with pytest.raises(InputError, match="no samples in 2 shards"):
        SampleOrder([0, 0], "d", 0, 1)
    with pytest.raises(InputError, match="at least 0, found -1"):
        SampleOrder([1], "d", 0, 1).at(-1)


PINNED = [9, 2, 11, 1, 8, 7, 3, 0, 10, 5, 6, 4, 2, 1, 0, 5, 3, 6, 4, 8, 9, 10, 11, 7]
