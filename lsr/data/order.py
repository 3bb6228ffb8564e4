"""The order of samples in training: an endless concatenation of exact permutations.

Each epoch permutes the shards, then the samples inside every window of W permuted shards: a reader touches W shards
at a time and still meets every sample once an epoch. The order is a pure function of (manifest digest, seed); a
position costs its window, and a data set of 1e9 samples is planned from its shard counts alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from lsr.core.errors import ConfigError, InputError
from lsr.core.randomness import derive_seed

Ints = NDArray[np.int64]


def _permutation(size: int, seed: int) -> Ints:
    # Sorting raw Philox words, not Generator.permutation: numpy keeps only the bit streams stable between releases.
    words = np.random.Philox(key=seed).random_raw(size)
    return np.argsort(words, kind="stable").astype(np.int64)


def lane_size(batch: int, lanes: int) -> int:
    """Samples of one lane. Raises ConfigError unless `batch` is a positive multiple of `lanes`."""
    if lanes < 1 or batch < 1 or batch % lanes:
        raise ConfigError(f"batch must be a positive multiple of lanes, found batch {batch} and lanes {lanes}.")
    return batch // lanes


def lane_positions(step: int, lane: int, batch: int, lanes: int) -> range:
    """Positions of lane `lane` of global batch `step`; InputError for a lane or step that there is not."""
    if not 0 <= lane < lanes or step < 0:
        raise InputError(f"Lanes are 0 to {lanes - 1} of steps from 0 on, asked for lane {lane} of step {step}.")
    size = lane_size(batch, lanes)
    first = step * batch + lane * size
    return range(first, first + size)


def rank_positions(start: int, batch: int, lanes: int, rank: int, world: int) -> Iterator[int]:
    """Positions from `start` on that rank `rank` of `world` trains on, endless: of every batch the lanes rank,
    rank + world, ... in their order.
    """
    lane_size(batch, lanes)
    for step in count(start // batch):
        for lane in range(rank, lanes, world):
            yield from (position for position in lane_positions(step, lane, batch, lanes) if position >= start)


class SampleOrder:
    """Sample indices by position.

    shard_counts: samples of each shard, in manifest order. digest: the manifest's. window: shards shuffled together.
    Raises InputError when there are no samples, ConfigError for a window below 1.
    """

    def __init__(self, shard_counts: Sequence[int], digest: str, seed: int, window: int) -> None:
        if window < 1:
            raise ConfigError(f"The shuffle window must be at least 1 shard, found {window}.")
        self._counts: Ints = np.asarray(shard_counts, dtype=np.int64)
        self.samples = int(self._counts.sum())
        if self.samples == 0:
            raise InputError(f"Data set {digest[:12]} has no samples in {len(shard_counts)} shards; nothing to order.")
        self._starts: Ints = np.cumsum(self._counts) - self._counts
        self._identity, self._window = (seed, "order", digest), window
        # An epoch's end touches two epochs; two windows for the batch that spans them, and two in reserve.
        self._shards = lru_cache(maxsize=2)(self._epoch)
        self._samples = lru_cache(maxsize=4)(self._window_samples)

    def _epoch(self, epoch: int) -> tuple[Ints, Ints]:
        """The epoch's shard permutation, and the first position inside the epoch of each of its windows."""
        shards = _permutation(len(self._counts), derive_seed(*self._identity, "shards", epoch))
        ends = np.cumsum(self._counts[shards])
        starts = np.concatenate([[0], ends[self._window - 1 : -1 : self._window]])
        return shards, starts.astype(np.int64)

    def _window_samples(self, epoch: int, window: int) -> Ints:
        """Global indices of one window's samples, in their order."""
        chosen = self._shards(epoch)[0][window * self._window : (window + 1) * self._window]
        pool = np.concatenate([np.arange(self._starts[s], self._starts[s] + self._counts[s]) for s in chosen])
        return pool[_permutation(len(pool), derive_seed(*self._identity, "samples", epoch, window))]

    def _locate(self, position: int) -> tuple[int, int, int]:
        """Epoch, window and place inside the window's samples."""
        if position < 0:
            raise InputError(f"A sample position must be at least 0, found {position}.")
        epoch, inside = divmod(position, self.samples)
        starts = self._shards(epoch)[1]
        # side="right" steps over windows of empty shards, which start where the next one does.
        window = int(np.searchsorted(starts, inside, side="right")) - 1
        return epoch, window, inside - int(starts[window])

    def at(self, position: int) -> int:
        """The global sample index (0 .. samples-1, shard by shard in manifest order) at `position` >= 0."""
        epoch, window, inside = self._locate(position)
        return int(self._samples(epoch, window)[inside])

    def indices(self, start: int, stop: int) -> Ints:
        """Global indices of the positions [start, stop), across windows and epochs."""
        found: list[Ints] = []
        while start < stop:
            epoch, window, inside = self._locate(start)
            found.append(self._samples(epoch, window)[inside : inside + stop - start])
            start += len(found[-1])
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def batch(self, number: int, size: int) -> list[int]:
        """Global indices of batch `number`: positions [number * size, (number + 1) * size), across epoch ends."""
        return [int(index) for index in self.indices(number * size, (number + 1) * size)]

    def shards_from(self, position: int) -> list[int]:
        """Numbers of the shards of the window of `position`, then of those of the window that follows."""
        epoch, window, _ = self._locate(position)
        here = self._shards(epoch)[0][window * self._window : (window + 1) * self._window]
        return [*map(int, here), *self.shards_after(position)]

    def shards_after(self, position: int) -> list[int]:
        """Numbers of the shards of the window that follows the one of `position`, in their order."""
        epoch, window, _ = self._locate(position)
        if window + 1 == len(self._shards(epoch)[1]):
            epoch, window = epoch + 1, -1
        return [int(s) for s in self._shards(epoch)[0][(window + 1) * self._window : (window + 2) * self._window]]
