"""The order of samples in training, an endless concatenation of exact permutations, and who trains on which of them.

Each epoch permutes the shards, then the samples inside every window of W permuted shards: a reader touches W shards
at a time and still meets every sample once an epoch. The order is a pure function of (manifest digest, seed); a
position costs its window, and a data set of 1e9 samples is planned from its shard counts alone.

Global batch b of B samples is the positions b * B to (b + 1) * B - 1. Rank r of W trains on the places r * B // W to
(r + 1) * B // W - 1 of each, so that no world size changes what a batch holds.
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


def share_of(batch: int, rank: int, world: int) -> range:
    """Places (0 .. batch - 1) of every global batch that rank `rank` of `world` trains on; never empty.

    Raises ConfigError for a rank that there is not, and for more processes than samples.
    """
    if not 1 <= world <= batch:
        raise ConfigError(
            f"Each training process needs a sample of every global batch, found {world} processes and a batch of "
            f"{batch}; start fewer (train.workers of the run) or raise the stage's train.batch."
        )
    if not 0 <= rank < world:
        raise ConfigError(f"Ranks of {world} processes are 0 to {world - 1}, found rank {rank} of {world}.")
    return range(rank * batch // world, (rank + 1) * batch // world)


def micro_batches(share: range, size: int | None) -> list[range]:
    """The share cut into parts of `size`, the last one smaller; None leaves it whole."""
    step = len(share) if size is None else size
    return [share[at : at + step] for at in range(0, len(share), step)]


def rank_positions(start: int, batch: int, rank: int, world: int) -> Iterator[int]:
    """Positions from `start` on that rank `rank` of `world` trains on, in their order, endless."""
    share = share_of(batch, rank, world)
    for number in count(start // batch):
        yield from (number * batch + place for place in share if number * batch + place >= start)


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
