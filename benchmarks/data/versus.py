"""Reading tiles: the trainer's source beside other loaders and beside decoding the same bytes from memory.

Every side reads the same encoded tiles from local files in a shuffled order, decodes them with the same function and
stacks batches of BATCH, in a fresh process that sees one core, imports and the first batch left out of its time. Sides
take turns. A library that the main environment lacks runs in one of its own, given as NAME=PYTHON; one that does not
run is reported so.

`python -m benchmarks.data.versus [NAME=PYTHON ...]` writes results/data/versus.json.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SIDE, TILES, BATCH, ROUNDS, WINDOW = 256, 512, 16, 5, 8
SHARD_BYTES = 8 << 20
KINDS = ("png", "jpg")
OUT = Path(__file__).parents[1] / "results" / "data" / "versus.json"

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Batches = Iterator[torch.Tensor]


def decode(data: bytes) -> Pixels:
    """uint8 [3, S, S]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB") if image.mode != "RGB" else image).transpose(2, 0, 1)


def _stacked(samples: Iterator[bytes]) -> Batches:
    held: list[Pixels] = []
    for data in samples:
        held.append(decode(data))
        if len(held) == BATCH:
            yield torch.from_numpy(np.stack(held))
            held = []


def _files(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / "files").glob(f"*.{kind}"))


def memory(folder: Path, kind: str) -> Batches:
    """All bytes are read before the first batch."""
    return _stacked(iter([path.read_bytes() for path in _files(folder, kind)]))


def files(folder: Path, kind: str) -> Batches:
    """One file a tile, in a random order."""
    paths = _files(folder, kind)
    random.Random(0).shuffle(paths)
    return _stacked(path.read_bytes() for path in paths)


def lsr(folder: Path, kind: str) -> Batches:
    """The trainer's source."""
    from lsr.data.batches import TileSource
    from lsr.data.manifest import load_manifest
    from lsr.data.order import SampleOrder
    from lsr.data.shards import SampleReader
    from lsr.store import open_store

    store = open_store(f"file://{folder}/store-{kind}")
    manifest = load_manifest(store, next(store.list("datasets/")).key)
    order = SampleOrder([row.samples for row in manifest.shards], manifest.digest, 0, WINDOW)
    source = TileSource(SampleReader(store, manifest), order, BATCH, 1)
    yield from (source.lane(step, 0)["tile"] for step in range(TILES // BATCH))
    source.close()


def webdataset(folder: Path, kind: str) -> Batches:
    """Plain WebDataset over the same tars, with a shuffle buffer of 200 samples."""
    library = importlib.import_module("webdataset")
    urls = sorted(str(path) for path in (folder / f"store-{kind}" / "blobs").glob("*.tar"))
    found = library.WebDataset(urls, shardshuffle=100, seed=0).shuffle(200, rng=random.Random(0))
    return _stacked(sample[kind] for sample in found)


def streaming(folder: Path, kind: str) -> Batches:
    """MosaicML Streaming over MDS shards."""
    library = importlib.import_module("streaming")
    place = str(folder / f"mds-{kind}")
    found = library.StreamingDataset(local=place, shuffle=True, shuffle_seed=0, batch_size=BATCH)
    return _stacked(sample["tile"] for sample in found)


def litdata(folder: Path, kind: str) -> Batches:
    """LitData over its optimised chunks."""
    library = importlib.import_module("litdata")
    found = library.StreamingDataset(str(folder / f"lit-{kind}"), shuffle=True, seed=0)
    return _stacked(sample["tile"] for sample in found)


SIDES: dict[str, Callable[[Path, str], Batches]] = {
    side.__name__: side for side in (memory, lsr, files, webdataset, streaming, litdata)
}


def _tile_of(path: str) -> dict[str, bytes]:
    return {"tile": Path(path).read_bytes()}


def prepare(name: str, folder: Path) -> str:
    """Write what side `name` reads; its library's version."""
    library = importlib.import_module(name)
    for kind in KINDS:
        paths = [str(path) for path in _files(folder, kind)]
        if name == "streaming":
            with library.MDSWriter(out=str(folder / f"mds-{kind}"), columns={"tile": "bytes"}) as out:
                for path in paths:
                    out.write(_tile_of(path))
        elif name == "litdata":
            place = str(folder / f"lit-{kind}")
            library.optimize(fn=_tile_of, inputs=paths, output_dir=place, chunk_bytes=SHARD_BYTES, num_workers=1)
    return str(getattr(library, "__version__", "unknown"))


def draw(folder: Path) -> None:
    """Tiles of the bundled photographs as files, and as tile shards in one store a format."""
    from data_prep.sets import resolve
    from data_prep.tars import Sample, pack, store_shard, write_tar
    from lsr.data.manifest import Manifest
    from lsr.store import open_store

    photos = sorted(path for path in resolve("photos", folder).rglob("*") if path.suffix in (".jpg", ".png", ".webp"))
    images = [np.asarray(Image.open(path).convert("RGB")) for path in photos]
    images = [image for image in images if min(image.shape[:2]) > SIDE]
    rng = np.random.default_rng(0)
    (folder / "files").mkdir()
    for number in range(TILES):
        image = images[number % len(images)]
        y, x = (int(rng.integers(0, size - SIDE)) for size in image.shape[:2])
        tile = Image.fromarray(image[y : y + SIDE, x : x + SIDE])
        tile.save(folder / "files" / f"{number:06}.png")
        tile.save(folder / "files" / f"{number:06}.jpg", quality=90)
    for kind in KINDS:
        store = open_store(f"file://{folder}/store-{kind}")
        found = [(path.stem, path.read_bytes()) for path in _files(folder, kind)]
        samples = [Sample(key, key, "train", SIDE, SIDE, {kind: data}) for key, data in found]
        runs = pack(samples, (len(data) for _, data in found), SHARD_BYTES)
        rows = tuple(store_shard(store, *write_tar(run)) for run in runs)
        manifest = Manifest(kind="tiles", name="t", parents={}, made_by={}, shards=rows, counts={"samples": TILES})
        store.write(f"datasets/t/{manifest.digest}.json", manifest.to_bytes())


def run(name: str, folder: Path, kind: str) -> dict[str, float]:
    """Seconds and CPU seconds for one tile, all batches but the first."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    batches = SIDES[name](folder, kind)
    next(batches)
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    for batch in batches:
        count += len(batch)
    seconds, spent = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": seconds / count, "cpu_seconds": spent / count, "tiles": count}


def _call(folder: Path, python: str, *words: str) -> Any:
    # LitData empties its cache folders, by default `data` and `chunks` in the machine's temporary folder.
    names = ("DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER")
    own = {name: str(folder / "litdata" / name) for name in names}
    env = {**os.environ, **own, "TMPDIR": str(folder), "HOME": str(folder)}
    command = [python, "-m", "benchmarks.data.versus", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no word"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(folder: Path, pythons: dict[str, str]) -> dict[str, Any]:
    """Medians of seconds a tile by format and side, and each side's rate over that of decoding from memory."""
    versions: dict[str, str] = {}
    for name in ("webdataset", "streaming", "litdata"):
        try:
            versions[name] = _call(folder, pythons.get(name, sys.executable), "prepare", name, str(folder))
        except RuntimeError as error:
            versions[name] = f"does not run: {error}"
    sides = [name for name in SIDES if not versions.get(name, "").startswith("does not run")]
    taken: dict[tuple[str, str], list[dict[str, float]]] = {(kind, side): [] for kind in KINDS for side in sides}
    for turn in range(ROUNDS):
        for kind, side in list(taken)[:: 1 if turn % 2 == 0 else -1]:
            python = pythons.get(side, sys.executable)
            taken[kind, side].append(_call(folder, python, "side", side, str(folder), kind))
    setup = {"side": SIDE, "tiles": TILES, "batch": BATCH, "rounds": ROUNDS, "shard_mib": SHARD_BYTES >> 20}
    rows = [_row(kind, side, runs, taken[kind, "memory"]) for (kind, side), runs in taken.items()]
    return {"setup": setup, "versions": versions, "load": os.getloadavg(), "rows": rows}


def _row(kind: str, side: str, runs: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, Any]:
    over = [b["seconds"] / r["seconds"] for b, r in zip(base, runs, strict=True)]
    cpu_over = [b["cpu_seconds"] / r["cpu_seconds"] for b, r in zip(base, runs, strict=True)]
    return {
        "format": kind,
        "side": side,
        "tiles_a_second": round(1 / statistics.median(one["seconds"] for one in runs)),
        "cpu_ms_a_tile": round(1000 * statistics.median(one["cpu_seconds"] for one in runs), 3),
        "rate_over_memory": {"median": round(statistics.median(over), 3), "all": [round(o, 3) for o in sorted(over)]},
        "cpu_rate_over_memory": round(statistics.median(cpu_over), 3),
    }


def main() -> None:
    """Measure every side in turns, ROUNDS times, and write the record."""
    match sys.argv[1:]:
        case ["side", name, place, kind]:
            print(json.dumps(run(name, Path(place), kind)))
            return
        case ["prepare", name, place]:
            print(json.dumps(prepare(name, Path(place))))
            return
    pythons = dict(word.partition("=")[::2] for word in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="lsr-versus-") as name:
        draw(Path(name))
        record = measure(Path(name), pythons)
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
