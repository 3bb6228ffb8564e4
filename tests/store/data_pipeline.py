"""Raw images in a bucket to read tiles, as the stages spell it but without Ray."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_prep.assemble import images_manifest, tiles_manifest
from data_prep.config import ShardConfig, SourceConfig, TileConfig
from data_prep.inspection import chunks_of, inspect_items
from data_prep.planning import plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import list_source
from data_prep.tile import cut_shard_to_store
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.shards import SampleReader
from lsr.data.verify import verify
from lsr.store import open_store
from lsr.store.content import create_once

RULES = ShardConfig(max_shard_bytes=40_000, holdout=0.1)
TILES = TileConfig(size=32, stride=32, max_shard_bytes=40_000)


@dataclass(frozen=True)
class Result:
    """What came out. read: sha256 over every sample's key and bytes, in order."""

    images: str
    tiles: str
    read: str
    samples: int


def fill(uri: str, count: int) -> None:
    """Put `count` images below the prefix `uri`."""
    store = open_store(uri)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 70, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=90)
        store.write(f"folder {number % 3}/ü {number}.jpg", out.getvalue())


def run(source: str, store_uri: str, cache: Path) -> Result:
    """List, check, pack, cut, write the manifests, read every tile through a fresh cache, verify every byte."""
    store = open_store(store_uri)

    def spread(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        # Pillow's pixel limit is global: checking is done one at a time.
        return list(map(function, items))

    items = list_source(SourceConfig(uri=source, name="demo"), cache).items
    found = spread(partial(inspect_items, store_uri, source, config=RULES), list(chunks_of(items)))
    planned = plan([one for chunk in found for one in chunk], RULES)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(partial(build_shard_to_store, store_uri, source, config=RULES), planned.shards))
    images = images_manifest(store, "demo", planned, rows, RULES)
    _put(store_uri, images)
    tiles = tiles_manifest("demo", images, spread(partial(cut_shard_to_store, store_uri, config=TILES), rows), TILES)
    path = _put(store_uri, tiles)
    reader = SampleReader(store, load_manifest(store, path), cache)
    reader.expect(range(len(tiles.shards)))
    digest = hashlib.sha256()
    for index in range(len(reader)):
        digest.update(reader.row(index).key.encode() + reader.read(index)["png"])
    reader.close()
    assert verify(store, images, threads=3) == []
    assert verify(store, tiles, threads=3) == []
    return Result(images.digest, tiles.digest, digest.hexdigest(), len(reader))


def _put(store_uri: str, manifest: Manifest) -> str:
    path = f"{manifest.directory}/{manifest.digest}.json"
    create_once(open_store(store_uri), path, manifest.to_bytes())
    return path
