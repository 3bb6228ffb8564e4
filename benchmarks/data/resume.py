"""Seconds to the first batch after a resume at a random position: local and S3, cold, beside its ranged GETs alone.

Each position is taken in a fresh process that has imported the reading code and nothing it loads on demand. The clock
runs from opening the store, over manifest, order and source, to the batch. Cold is: an empty cache folder on S3, files
that the system has been told to forget on local. Afterwards the same process gets the batch's samples alone, by one
range after the other through a client that is already connected: the least that the batch can cost.

`python -m benchmarks.data.resume` writes results/data/resume.json.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.server import s3_server
from benchmarks.data.sets import samples_of, store_manifest, store_samples, upload
from benchmarks.data.sides import WINDOW
from benchmarks.surroundings import ROOT, code, load, machine
from lsr.data.batches import TileSource
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader
from lsr.store import open_store

LIMIT = 1.0
EPOCHS = 3
OUT = Path(__file__).parents[1] / "results" / "data" / "resume.json"

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """side: of a PNG tile, px; different ones of them fill all shards over and over. shard_bytes: about. batch: samples
    read at once. positions: how many a place."""

    side: int = 256
    different: int = 256
    shards: int = 16
    shard_bytes: int = 64 << 20
    batch: int = 16
    positions: int = 10


def draw(folder: Path, setup: Setup) -> Manifest:
    """A tile set at folder/store-png."""
    store = open_store(f"file://{folder}/store-png")
    tiles = list(samples_of("png", setup.different, setup.side, folder))
    each = max(round(setup.shard_bytes / statistics.mean(len(tile["png"]) for tile in tiles)), 1)
    rows = []
    for shard in range(setup.shards):
        numbers = range(shard * each, (shard + 1) * each)
        named = [(f"{number:08}", tiles[(number * 7 + shard) % len(tiles)]) for number in numbers]
        rows.append(store_samples(store, named, setup.side))
    return store_manifest(store, "png", rows)


def forget(folder: Path) -> None:
    """Ask the system to drop these files from its memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def once(uri: str, path: str, cache: Path, step: int, batch: int) -> Row:
    """Seconds to global batch `step`, and of its ranges alone."""
    start = time.perf_counter()
    store = open_store(uri)
    manifest = load_manifest(store, path)
    order = SampleOrder([row.samples for row in manifest.shards], manifest.digest, 0, WINDOW)
    reader = SampleReader(store, manifest, cache)
    source = TileSource(reader, order, batch)
    found = source.batch(step * batch, (step + 1) * batch)
    first = time.perf_counter() - start
    ranges = ranges_of(reader, order.batch(step, batch))
    source.close()
    start = time.perf_counter()
    got = sum(len(store.read(*one)) for one in ranges)
    alone = time.perf_counter() - start
    facts = {"step": step, "samples": len(found["position"]), "bytes": got}
    return {**facts, "first_batch_seconds": round(first, 4), "gets_seconds": round(alone, 4)}


def ranges_of(reader: SampleReader, indices: Sequence[int]) -> list[tuple[str, int, int]]:
    """Key, start and length in bytes of each sample's members together."""
    ends = np.cumsum([row.samples for row in reader.manifest.shards])
    found = []
    for index in indices:
        members = reader.row(index).members.values()
        start = min(offset for offset, _ in members)
        shard = reader.manifest.shards[int(np.searchsorted(ends, index, side="right"))]
        found.append((shard.path, start, max(offset + size for offset, size in members) - start))
    return found


def measure(folder: Path, setup: Setup, moto: bool = False) -> Row:
    """The record: every position of both places, and the verdict."""
    before, manifest = load(), draw(folder, setup)
    steps = np.random.default_rng(1).integers(0, EPOCHS * manifest.samples // setup.batch, 2 * setup.positions)
    rows: dict[str, list[Row]] = {"local": [], "s3": []}
    path = f"datasets/t/{manifest.digest}.json"
    with s3_server(moto) as server:
        upload(folder, server.remote, ("store",))
        uris = {"local": f"file://{folder}/store-png", "s3": f"{server.remote}/store-png"}
        for number, step in enumerate(map(int, steps)):
            place = ("local", "s3")[number % 2]
            forget(folder)
            rows[place].append(_fresh(uris[place], path, folder, step, setup.batch))
            print(place, rows[place][-1], file=sys.stderr)
    return {
        "setup": {**asdict(setup), "window": WINDOW, "samples": manifest.samples},
        "s3_server": server.name,
        "machine": asdict(machine()),
        **asdict(code()),
        "load": {"before": before, "after": load()},
        "places": {place: judged(found) for place, found in rows.items()},
        "rows": rows,
    }


def _fresh(uri: str, path: str, folder: Path, step: int, batch: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="cache-", dir=folder) as cache:
        command = [sys.executable, "-m", "benchmarks.data.resume", uri, path, cache, str(step), str(batch)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def judged(rows: Sequence[Row]) -> Row:
    """Medians and the worst position; the target is met when no position needs LIMIT s more than its GETs alone."""
    over = [row["first_batch_seconds"] - row["gets_seconds"] for row in rows]
    return {
        "first_batch_seconds": _summary([row["first_batch_seconds"] for row in rows]),
        "gets_seconds": _summary([row["gets_seconds"] for row in rows]),
        "over_gets_seconds": _summary(over),
        "target": f"under {LIMIT:g} s more than the GETs at every position",
        "verdict": "met" if max(over) < LIMIT else "missed",
    }


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(seconds), 4), "largest": round(max(seconds), 4)}


def main() -> None:
    """Measure and write the record; with arguments, take one position in this process."""
    if len(sys.argv) == 6:
        uri, path, cache, step, batch = sys.argv[1:]
        print(json.dumps(once(uri, path, Path(cache), int(step), int(batch))))
        return
    with tempfile.TemporaryDirectory(prefix="lsr-resume-") as name:
        record = measure(Path(name), Setup())
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["places"], indent=1))


if __name__ == "__main__":
    main()
