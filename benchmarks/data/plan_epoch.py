"""Seconds and memory of planning an epoch of 1e9 samples: a simulated manifest, its order, any position of it.

`python -m benchmarks.data.plan_epoch` writes results/data/plan_epoch.json. Memory is the growth of this process's
peak; the order is planned first, from shard counts alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lsr.core.canonical import sha256_hex
from lsr.data.manifest import Manifest, ShardRow
from lsr.data.order import SampleOrder

SHARDS, PER_SHARD, WINDOW, BATCH = 250_000, 4_000, 8, 256
SWEPT = 200
OUT = Path(__file__).parents[1] / "results" / "data" / "plan_epoch.json"

T = TypeVar("T")


def peak_mib() -> float:
    """Largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Steps:
    """Seconds and growth of the peak, step by step."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}

    def measure(self, name: str, work: Callable[[], T]) -> T:
        before, start = peak_mib(), time.perf_counter()
        result = work()
        taken = {"seconds": round(time.perf_counter() - start, 4), "peak_grew_mib": round(peak_mib() - before, 1)}
        self.rows[name] = taken
        print(f"{name}: {taken['seconds']} s, peak +{taken['peak_grew_mib']} MiB", file=sys.stderr)
        return result


def simulated() -> Manifest:
    """A manifest of SHARDS x PER_SHARD samples whose blobs do not exist."""
    names = [sha256_hex(str(number).encode()) for number in range(SHARDS)]
    rows = (
        ShardRow(
            path=f"blobs/{n}.tar",
            sha256=n,
            bytes=64 << 20,
            samples=PER_SHARD,
            index=f"blobs/{n}.parquet",
            index_bytes=0,
        )
        for n in names
    )
    counts = {"samples": SHARDS * PER_SHARD}
    return Manifest(kind="tiles", name="simulated", parents={}, made_by={}, shards=tuple(rows), counts=counts)


def main() -> None:
    """Measure, write the record."""
    steps, samples = Steps(), SHARDS * PER_SHARD
    order = steps.measure("plan: the order and its first sample", _started)
    steps.measure("go to a position in another epoch", lambda: order.at(7 * samples + samples // 3))
    steps.measure("one batch there", lambda: order.batch((7 * samples + samples // 3) // BATCH, BATCH))
    swept = SWEPT * WINDOW * PER_SHARD
    steps.measure(f"every position of {SWEPT} windows", lambda: _sweep(order, swept))
    data = steps.measure("write the manifest", lambda: simulated().to_bytes())
    steps.measure("read the manifest", lambda: Manifest.from_bytes(data, "simulated"))
    seconds = steps.rows[f"every position of {SWEPT} windows"]["seconds"]
    whole = round(seconds * samples / swept, 1)
    setup = {"samples": samples, "shards": SHARDS, "window": WINDOW, "batch": BATCH, "manifest_mb": len(data) / 1e6}
    record = {"setup": setup, "steps": steps.rows, "seconds_to_list_all_positions_projected": whole}
    OUT.write_text(json.dumps({**record, "peak_mib": round(peak_mib(), 1)}, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def _started() -> SampleOrder:
    order = SampleOrder([PER_SHARD] * SHARDS, "simulated", 0, WINDOW)
    order.at(0)
    return order


def _sweep(order: SampleOrder, stop: int) -> None:
    step = WINDOW * PER_SHARD
    for start in range(0, stop, step):
        order.indices(start, start + step)


if __name__ == "__main__":
    main()
