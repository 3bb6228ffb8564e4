"""How far the sample order is from a uniform permutation, as a function of the window W of shards shuffled together.

Three figures, each beside that of a uniform permutation of the same samples:
- distinct shards in a batch;
- noise of a batch's mean when shards differ (each shard has one value, as if the source were sorted): its variance
  over that of a uniform permutation. 1 is ideal, W = 1 gives about the batch size;
- repeated company: of the pairs that shared a batch in one epoch, how many share one in the next.

`python -m benchmarks.data.shuffle_quality` writes results/data/shuffle_quality.json and prints a table.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.data.order import SampleOrder

SHARDS, PER_SHARD, BATCH, EPOCHS = 512, 64, 64, 8
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 512)
OUT = Path(__file__).parents[1] / "results" / "data" / "shuffle_quality.json"

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one order, over EPOCHS epochs. window: None for a uniform permutation."""

    window: int | None
    shards_in_a_batch: float
    variance_of_batch_means: float
    pairs_met_again: float


def of(epochs: list[Ints], shard_of: Ints, window: int | None) -> Quality:
    """Quality of these permutations. shard_of [N]: the shard of each sample."""
    batches = [epoch.reshape(-1, BATCH) for epoch in epochs]
    values = np.random.default_rng(0).normal(size=int(shard_of.max()) + 1)[shard_of]
    values -= values.mean()
    return Quality(
        window=window,
        shards_in_a_batch=float(np.mean([len(set(shard_of[batch])) for one in batches for batch in one])),
        variance_of_batch_means=float(np.mean([np.square(values[one].mean(axis=1)).mean() for one in batches])),
        pairs_met_again=float(np.mean([_again(a, b) for a, b in pairwise(batches)])),
    )


def _again(first: Ints, second: Ints) -> float:
    """Fraction of the pairs of `first`'s batches that are pairs of `second`'s."""
    batch_in_second = np.empty(first.size, dtype=np.int64)
    batch_in_second[second.ravel()] = np.repeat(np.arange(len(second)), BATCH)
    together = (np.bincount(batch_in_second[batch]) for batch in first)
    again = sum(int((counts * (counts - 1)).sum()) for counts in together)
    return again / (len(first) * BATCH * (BATCH - 1))


def measure() -> list[Quality]:
    """One Quality a window, then that of uniform permutations."""
    samples = SHARDS * PER_SHARD
    shard_of = np.repeat(np.arange(SHARDS), PER_SHARD)
    found = []
    for window in WINDOWS:
        order = SampleOrder([PER_SHARD] * SHARDS, "shuffle quality", 0, window)
        epochs = [order.indices(epoch * samples, (epoch + 1) * samples) for epoch in range(EPOCHS)]
        found.append(of(epochs, shard_of, window))
    rng = np.random.default_rng(1)
    return [*found, of([rng.permutation(samples) for _ in range(EPOCHS)], shard_of, None)]


def main() -> None:
    """Measure, write the record and print it as a table."""
    found = measure()
    uniform = found[-1]
    rows = [
        {
            **asdict(one),
            "noise_of_batch_means": one.variance_of_batch_means / uniform.variance_of_batch_means,
            "pairs_met_again_over_uniform": one.pairs_met_again / uniform.pairs_met_again,
        }
        for one in found
    ]
    setup = {"shards": SHARDS, "samples_in_a_shard": PER_SHARD, "batch": BATCH, "epochs": EPOCHS}
    OUT.write_text(json.dumps({"setup": setup, "rows": rows}, indent=1) + "\n")
    print("| window | shards in a batch | noise of batch means | pairs met again |\n|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['window'] or 'uniform'} | {row['shards_in_a_batch']:.1f} | {row['noise_of_batch_means']:.2f} | "
            f"{row['pairs_met_again_over_uniform']:.2f} |"
        )


if __name__ == "__main__":
    main()
