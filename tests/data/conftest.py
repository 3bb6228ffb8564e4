"""A tile set and its latents in a store, made without data_prep's stages: what lsr.data reads."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from data_prep.tars import Sample, store_shard, write_tar
from lsr.data.manifest import Manifest
from lsr.store import Store, open_store

COUNTS = (5, 3, 4)
SIDE = 8


def png(seed: int, side: int = SIDE) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def npy(value: float, channels: int = 2) -> bytes:
    out = io.BytesIO()
    np.save(out, np.full((channels, 2, 2), value, dtype="<f2"), allow_pickle=False)
    return out.getvalue()


def sample(key: str, members: dict[str, bytes]) -> Sample:
    return Sample(key, "photo.jpg", "train", SIDE, SIDE, members)


def make_set(
    store: Store, kind: str, shards: Sequence[Sequence[Sample]], parents: dict[str, str], extra: dict[str, object]
) -> Manifest:
    rows = tuple(store_shard(store, *write_tar(samples)) for samples in shards)
    counts = {"samples": sum(map(len, shards))}
    made_by = {"stage": "test", "version": 1, "config": {}}
    manifest = Manifest(
        kind=kind, name="demo", parents=parents, made_by=made_by, shards=rows, counts=counts, extra=extra
    )
    store.write(f"{manifest.directory}/{manifest.digest}.json", manifest.to_bytes())
    return manifest


@dataclass(frozen=True)
class Sets:
    store: Store
    tiles: Manifest
    latents: Manifest


@pytest.fixture
def sets(store_uri: str) -> Sets:
    """Twelve tiles in three shards; sample n has pixels `png(n)`, latent mean n, deviation n + 100, LR condition -n."""
    store = open_store(store_uri)
    numbers = np.split(np.arange(sum(COUNTS)), np.cumsum(COUNTS)[:-1])
    keys = {n: f"{n:016x}-0-0" for n in range(sum(COUNTS))}
    tiles = make_set(store, "tiles", [[sample(keys[n], {"png": png(n)}) for n in ns] for ns in numbers], {}, {})
    members = {
        n: {"hr.npy": npy(n), "hr_std.npy": npy(n + 100), "lr-abcdefabcdef.npy": npy(-n)} for n in range(sum(COUNTS))
    }
    extra = {"encoder": "enc", "whitening": "white", "degradations": ["abcdefabcdef"]}
    latents = make_set(
        store,
        "latents",
        [[sample(keys[n], members[n]) for n in ns] for ns in numbers],
        {"tiles": tiles.digest},
        extra,
    )
    return Sets(store, tiles, latents)
