"""Two machines' worth of workers: other core counts, hash seeds and orders of work give the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .conftest import encode, hostile, make_image

PROJECT = Path(__file__).resolve().parents[2]

MACHINE = """
import json, random, sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from data_prep.assemble import images_manifest, tiles_manifest
from data_prep.config import ShardConfig, SourceConfig, TileConfig
from data_prep.inspection import chunks_of, inspect_items
from data_prep.planning import plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import list_source
from data_prep.tile import cut_shard_to_store
from lsr.store import open_store

RULES = ShardConfig(max_shard_bytes=60_000, near_duplicates=2, holdout=0.3)
TILES = TileConfig(size=32, stride=16, flips=True, max_shard_bytes=60_000)

def main(store, root, workers, seed):
    rng = random.Random(seed)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        def spread(function, items):
            items = list(items)
            order = list(range(len(items)))
            rng.shuffle(order)
            results = dict(zip(order, pool.map(function, [items[i] for i in order])))
            return [results[i] for i in range(len(items))]
        items = list_source(SourceConfig(uri=root, name="demo"), Path(root)).items
        chunks = spread(partial(inspect_items, store, root, config=RULES), chunks_of(items))
        planned = plan([found for chunk in chunks for found in chunk], RULES)
        rows = spread(partial(build_shard_to_store, store, root, config=RULES), planned.shards)
        images = images_manifest(open_store(store), "demo", planned, rows, RULES)
        cuts = spread(partial(cut_shard_to_store, store, config=TILES), images.shards)
        tiles = tiles_manifest("demo", images, cuts, TILES)
    print(json.dumps([images.digest, tiles.digest, len(images.shards), len(tiles.shards)]))

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""


def machine(script: Path, store: Path, root: Path, *, workers: int, cores: set[int], hash_seed: int) -> list[object]:
    """What a machine with these cores makes of the folder: digests and counts."""
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": str(workers), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(script), f"file://{store}", str(root), str(workers), str(hash_seed)]
    done = subprocess.run(
        command,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_other_numbers_of_workers_and_cores_give_the_same_bytes(folder, tmp_path: Path) -> None:
    files = hostile() | {f"more/{n}.jpg": encode(make_image(n, 80, 90), "JPEG") for n in range(40, 80)}
    root = folder(files)
    script = tmp_path / "machine.py"
    script.write_text(MACHINE)
    cores = os.sched_getaffinity(0)
    one = machine(script, tmp_path / "a", root, workers=1, cores={min(cores)}, hash_seed=1)
    many = machine(script, tmp_path / "b", root, workers=3, cores=cores, hash_seed=77)
    assert one == many
    assert one[2] > 3
    assert one[3] > 3
    blobs = [{path.name: path.read_bytes() for path in (tmp_path / name / "blobs").iterdir()} for name in ("a", "b")]
    assert blobs[0] == blobs[1]
