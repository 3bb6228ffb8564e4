"""Thousands of broken and odd files: no crash, no hang, bounded memory, and each one is packed or rejected."""

from __future__ import annotations

import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest
from PIL import Image

from data_prep.config import ShardConfig
from data_prep.soundness import content_hash
from lsr.core.pixels import decode_rgb
from lsr.data.manifest import load_manifest
from lsr.data.pixels import image_of
from lsr.data.shards import SampleReader
from lsr.data.verify import verify
from lsr.store import open_store

from .corpus import corpus, originals
from .test_shard import make, skipped

RULES = ShardConfig(max_shard_bytes=1 << 20, max_rejected=1.0, max_pixels=2_000_000, min_side=16)
SLOWEST_SECONDS = 10.0
MOST_MIB = 400


@dataclass(frozen=True)
class Outcome:
    manifest: str
    slowest: float
    grown_mib: float


def shard_all(store_uri: str, root: str) -> Outcome:
    """In a process of its own: a decoder that crashes ends that process only."""
    from data_prep import inspection, shard
    from data_prep.soundness import inspect

    slowest = 0.0

    def timed(data, config):
        nonlocal slowest
        start = time.monotonic()
        found = inspect(data, config)
        slowest = max(slowest, time.monotonic() - start)
        return found

    inspection.inspect = shard.inspect = timed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest, _ = make(store_uri, Path(root), RULES, chunk=50)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return Outcome(f"{manifest.directory}/{manifest.digest}.json", slowest, grown)


def outcome(store_uri: str, root: Path) -> Outcome:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(shard_all, store_uri, str(root)).result(timeout=280)


def check(count: int, seed: int, tmp_path: Path) -> dict[str, int]:
    root = tmp_path / "raw"
    for name, data in corpus(count, seed):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.*"))
    assert len(names) == count
    store = open_store(f"file://{tmp_path / 'store'}")
    found = outcome(store.uri, root)
    assert found.slowest < SLOWEST_SECONDS
    assert found.grown_mib < MOST_MIB
    manifest = load_manifest(store, found.manifest)
    reader = SampleReader(store, manifest)
    rejected = skipped(store.uri, manifest)
    packed = [reader.row(i).source for i in range(len(reader))]
    assert sorted(packed + [row["source"] for row in rejected]) == names
    assert all(row["reason"].strip() for row in rejected)
    assert verify(store, manifest) == []
    for i in range(len(reader)):
        members, where = reader.read(i), reader.describe(i)
        pixels = decode_rgb(image_of(members, where), where)
        assert pixels.shape == (reader.row(i).height, reader.row(i).width, 3)
        assert content_hash(Image.fromarray(pixels)) == json.loads(members["json"])["content"], where
    again = outcome(f"file://{tmp_path / 'again'}", root)
    assert again.manifest == found.manifest
    return dict(manifest.counts)


def test_the_corpus_has_every_format_of_ours_and_foreign_ones() -> None:
    formats = {format for format, _ in originals()}
    assert {"PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "MPO"} <= formats
    assert len(formats) > 15


def test_some_hundred_hostile_files(tmp_path: Path) -> None:
    counts = check(400, 1, tmp_path)
    assert counts["samples"] > 40
    assert counts["rejected"] > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_six_thousand_hostile_files(tmp_path: Path) -> None:
    counts = check(6000, 2, tmp_path)
    assert counts["samples"] > 600
    assert counts["rejected"] > 2000
