"""Sets for measuring readers: tiles and latents as files, as shards of a local store, and all of it put on S3."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.sides import DEGRADATION, ENCODER, MEMBERS, WHITENING, Pass, Sample, keys_of, read_sample
from data_prep import tars
from lsr.assets import resolve
from lsr.data.manifest import Manifest, ShardRow
from lsr.store import Store, open_store

QUALITY = 90
CHANNELS, FACTOR = 3, 4
UPLOADS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """side: of a tile, px. samples: of each kind. shards: of each set, all of equally many samples."""

    side: int = 256
    png: int = 768
    jpg: int = 3072
    latents: int = 4096
    shards: int = 8

    def of(self, kind: str) -> int:
        return {"png": self.png, "jpg": self.jpg, "latents": self.latents}[kind]


def draw(folder: Path, sizes: Sizes) -> dict[str, int]:
    """Every kind as files and as shards of a store of its own; bytes of one shard by kind."""
    found = {}
    for kind in MEMBERS:
        place = folder / f"files-{kind}"
        place.mkdir()
        for number, sample in enumerate(samples_of(kind, sizes.of(kind), sizes.side, folder)):
            for member, data in sample.items():
                (place / f"{number:06}.{member}").write_bytes(data)
        job = Pass(kind=kind, folder=str(folder), remote=None, cache="")
        named = [(key, read_sample(job, key)) for key in sorted(keys_of(job))]
        manifest = store_set(open_store(f"file://{job.at('store')}"), kind, named, sizes)
        found[kind] = max(row.bytes for row in manifest.shards)
    return found


def samples_of(kind: str, count: int, side: int, folder: Path) -> Iterator[Sample]:
    """`count` samples: tiles cut at random places from the bundled photos, or random latents of such tiles."""
    rng = np.random.default_rng(0)
    if kind == "latents":
        shape = (CHANNELS, side // FACTOR, side // FACTOR)
        for _ in range(count):
            yield {member: _npy(rng.standard_normal(shape).astype(np.float16)) for member in MEMBERS[kind]}
        return
    photos = [path for path in resolve("photos", folder).rglob("*") if path.suffix in (".jpg", ".png", ".webp")]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(photos)]
    images = [image for image in images if min(image.shape[:2]) > side]
    for number in range(count):
        image = images[number % len(images)]
        y, x = (int(rng.integers(0, size - side)) for size in image.shape[:2])
        out = io.BytesIO()
        options = {"quality": QUALITY} if kind == "jpg" else {}
        Image.fromarray(image[y : y + side, x : x + side]).save(out, "JPEG" if kind == "jpg" else "PNG", **options)
        yield {kind: out.getvalue()}


def _npy(array: np.ndarray[tuple[int, ...], np.dtype[np.float16]]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def store_set(store: Store, kind: str, named: Sequence[tuple[str, Sample]], sizes: Sizes) -> Manifest:
    """The set in `store` as the stages write it; its manifest."""
    each = -(-len(named) // sizes.shards)
    rows = [store_samples(store, named[at : at + each], sizes.side) for at in range(0, len(named), each)]
    return store_manifest(store, kind, rows)


def store_samples(store: Store, named: Sequence[tuple[str, Sample]], side: int) -> ShardRow:
    """One shard of these samples."""
    return tars.store_shard(
        store, *tars.write_tar([tars.Sample(key, key, "train", side, side, sample) for key, sample in named])
    )


def store_manifest(store: Store, kind: str, rows: Sequence[ShardRow]) -> Manifest:
    """The root of a set of tiles or latents of these shards, written to the store."""
    latents = {"encoder": ENCODER, "whitening": WHITENING, "degradations": [DEGRADATION]}
    manifest = Manifest(
        kind="latents" if kind == "latents" else "tiles",
        name="t",
        parents={},
        made_by={},
        shards=tuple(rows),
        counts={"samples": sum(row.samples for row in rows)},
        extra=latents if kind == "latents" else {},
    )
    store.write(f"datasets/t/{manifest.digest}.json", manifest.to_bytes())
    return manifest


def upload(folder: Path, remote: str, forms: Sequence[str] = ("store", "mds", "lit")) -> None:
    """Put these forms of the sets below `folder` on S3, each file at its relative path."""
    store = open_store(remote)
    found = [path for form in forms for path in folder.glob(f"{form}-*/**/*") if path.is_file()]
    with ThreadPoolExecutor(UPLOADS) as threads:
        for done in [threads.submit(store.write_file, str(path.relative_to(folder)), path) for path in found]:
            done.result()
