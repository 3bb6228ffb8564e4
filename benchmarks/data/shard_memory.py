"""Peak memory of sharding 1,000, 10,000 and 100,000 images, each count in a fresh process: listing, writing and
reading the snapshot, checking, planning, packing.

`python -m benchmarks.data.shard_memory` writes results/data/shard_memory.json. One process does everything that the
stage spreads over workers, so the figure is that of the planner and of one worker together.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.surroundings import load
from data_prep.assemble import images_manifest
from data_prep.config import ShardConfig, SourceConfig
from data_prep.inspection import chunks_of, inspect_items
from data_prep.planning import plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import Snapshot, list_source
from lsr.store import open_store

COUNTS = (1_000, 10_000, 100_000)
SIDE = 64
RULES = ShardConfig(max_shard_bytes=4 << 20)
OUT = Path(__file__).parents[1] / "results" / "data" / "shard_memory.json"


def draw(folder: Path, count: int) -> None:
    """`count` different noisy JPEGs of SIDE px."""
    rng = np.random.default_rng(0)
    for number in range(count):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(out, "JPEG", quality=80)
        (folder / f"{number:06}.jpg").write_bytes(out.getvalue())


def peak_mib() -> float:
    """Largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def shard(root: Path, store_uri: str) -> dict[str, float]:
    """Shard the folder here; what it cost."""
    start, before = time.perf_counter(), peak_mib()
    store = open_store(store_uri)
    listed = list_source(SourceConfig(uri=str(root), name="memory"), root).save(store, "memory")
    items = Snapshot.load(store, listed.path).items
    inspected = (inspect_items(store_uri, str(root), chunk, RULES) for chunk in chunks_of(items))
    planned = plan((found for chunk in inspected for found in chunk), RULES)
    rows = [build_shard_to_store(store_uri, str(root), images, RULES) for images in planned.shards]
    images_manifest(store, "memory", planned, rows, RULES)
    seconds = time.perf_counter() - start
    facts = {"images": len(items), "shards": len(rows), "seconds": round(seconds, 1)}
    return {**facts, "before_mib": round(before, 1), "peak_mib": round(peak_mib(), 1)}


def main() -> None:
    """Measure each count in a process of its own and write the record."""
    if len(sys.argv) == 3:
        print(json.dumps(shard(Path(sys.argv[1]), sys.argv[2])))
        return
    rows = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name) / "raw"
            root.mkdir()
            draw(root, count)
            command = [sys.executable, "-m", "benchmarks.data.shard_memory", str(root), f"file://{name}/store"]
            rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            print(rows[-1])
    OUT.write_text(
        json.dumps({"shard_mib": RULES.max_shard_bytes >> 20, "side": SIDE, "load": load(), "rows": rows}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    main()
