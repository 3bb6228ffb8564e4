"""The sides of `versus`: each reads its part of the same samples, shuffled, and stacks batches of BATCH.

All but ours decode with the same function. Importable without lsr, so that a library which cannot live beside it runs
in an environment of its own; that needs torch, numpy, Pillow and the library.
"""

from __future__ import annotations

import importlib
import io
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.data.libraries import library_of

BATCH, WINDOW, BUFFER = 16, 8, 200
DEGRADATION, ENCODER, WHITENING = "0" * 16, "0" * 64, "1" * 64
MEMBERS = {"png": ("png",), "jpg": ("jpg",), "latents": ("hr.npy", f"lr-{DEGRADATION}.npy")}

Sample = dict[str, bytes]
Array = np.ndarray[Any, np.dtype[Any]]
Batches = Iterator[list[torch.Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One reading of a whole set. kind: of MEMBERS. folder: the sets in all their forms. remote: the same forms at
    s3://bucket/prefix, or None to read them in `folder`. cache: an empty folder that all ranks share. rank, world:
    this process reads that part."""

    kind: str
    folder: str
    remote: str | None
    cache: str
    rank: int = 0
    world: int = 1

    def at(self, form: str) -> str:
        """Where the set's `form` (store, mds, lit) is read."""
        return f"{self.remote or self.folder}/{form}-{self.kind}"


def decode(data: bytes, member: str) -> Array:
    """uint8 [3, S, S] of a tile, float16 [c, h, w] of a latent."""
    if member.endswith("npy"):
        return np.asarray(np.load(io.BytesIO(data)))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB") if image.mode != "RGB" else image).transpose(2, 0, 1)


@lru_cache(maxsize=8)
def _header(header: bytes) -> tuple[Any, Any]:
    stream = io.BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    return kind, shape


def decode_once(data: bytes, member: str) -> Array:
    """`decode` of a latent whose header was seen before."""
    end = 10 + int.from_bytes(data[8:10], "little")
    kind, shape = _header(data[:end])
    return np.frombuffer(data, kind, -1, end).reshape(shape)


def stacked(samples: Iterable[Sample], kind: str, how: Callable[[bytes, str], Array] = decode) -> Batches:
    """One tensor [b, ...] a member, latents as float32; the last batch may be smaller."""
    columns: list[list[Array]] = [[] for _ in MEMBERS[kind]]
    for sample in samples:
        for column, member in zip(columns, MEMBERS[kind]):
            column.append(how(sample[member], member))
        if len(columns[0]) == BATCH:
            yield _tensors(columns)
            columns = [[] for _ in columns]
    if columns[0]:
        yield _tensors(columns)


def _tensors(columns: list[list[Array]]) -> list[torch.Tensor]:
    found = [torch.from_numpy(np.stack(column)) for column in columns]
    return [one.float() if one.dtype == torch.float16 else one for one in found]


def keys_of(job: Pass) -> list[str]:
    """The keys of this rank's part, shuffled."""
    first = MEMBERS[job.kind][0]
    found = sorted(path.name.removesuffix(f".{first}") for path in _files(job).glob(f"*.{first}"))
    random.Random(0).shuffle(found)
    return found[job.rank :: job.world]


def _files(job: Pass) -> Path:
    return Path(job.folder) / f"files-{job.kind}"


def read_sample(job: Pass, key: str) -> Sample:
    return {member: (_files(job) / f"{key}.{member}").read_bytes() for member in MEMBERS[job.kind]}


@lru_cache(maxsize=1)
def _held(job: Pass) -> list[Sample]:
    return [read_sample(job, key) for key in keys_of(job)]


def memory(job: Pass) -> Batches:
    """Decoding bytes that are in memory before the clock starts."""
    return stacked(_held(job), job.kind)


def memory_once(job: Pass) -> Batches:
    """The same with the `.npy` headers parsed once."""
    return stacked(_held(job), job.kind, decode_once)


def files(job: Pass) -> Batches:
    """One file a member."""
    return stacked((read_sample(job, key) for key in keys_of(job)), job.kind)


def lsr(job: Pass) -> Batches:
    """The trainer's source."""
    from lsr.data.batches import LatentSource, TileSource
    from lsr.data.manifest import load_manifest
    from lsr.data.order import SampleOrder
    from lsr.data.shards import SampleReader
    from lsr.store import open_store

    store = open_store(job.at("store") if job.remote else f"file://{job.at('store')}")
    manifest = load_manifest(store, next(store.list("datasets/")).key)
    order = SampleOrder([row.samples for row in manifest.shards], manifest.digest, 0, WINDOW)
    reader = SampleReader(store, manifest, Path(job.cache) if job.remote else None)
    batch = BATCH * job.world
    source: TileSource | LatentSource
    if job.kind == "latents":
        made = {"encoder": ENCODER, "whitening": WHITENING, "degradation": DEGRADATION}
        source, names = LatentSource(reader, None, order, batch, **made), ["hr_mean", "lr"]
    else:
        source, names = TileSource(reader, order, batch), ["tile"]
    for step in range(manifest.samples // batch):
        first = step * batch + job.rank * BATCH
        found = source.batch(first, first + BATCH)
        yield [found[name] for name in names]
    source.close()


@lru_cache(maxsize=1)
def _tars(job: Pass) -> list[tuple[str, list[dict[str, slice]]]]:
    """Name of each tar of this rank, and where the members of its samples lie."""
    found = []
    for path in sorted(Path(job.folder, f"store-{job.kind}", "blobs").glob("*.tar"))[job.rank :: job.world]:
        samples: dict[str, dict[str, slice]] = {}
        with tarfile.open(path) as tar:
            for one in tar:
                key, _, member = one.name.partition(".")
                samples.setdefault(key, {})[member] = slice(one.offset_data, one.offset_data + one.size)
        found.append((path.name, list(samples.values())))
    return found


def whole(job: Pass) -> Batches:
    """The floor of S3: whole tars by one GET after the other, members cut out where they are known to lie."""
    client = importlib.import_module("boto3").client("s3")
    bucket, _, prefix = job.at("store").removeprefix("s3://").partition("/")

    def samples() -> Iterator[Sample]:
        for name, places in _tars(job):
            data = client.get_object(Bucket=bucket, Key=f"{prefix}/blobs/{name}")["Body"].read()
            yield from ({member: data[at] for member, at in sample.items()} for sample in places)

    return stacked(samples(), job.kind)


def _urls(job: Pass) -> list[str]:
    """Paths of all tars, or signed addresses: WebDataset itself splits them between ranks and fetches them by curl."""
    paths = sorted(Path(job.folder, f"store-{job.kind}", "blobs").glob("*.tar"))
    if not job.remote:
        return [str(path) for path in paths]
    client = importlib.import_module("boto3").client("s3")
    bucket, _, prefix = job.at("store").removeprefix("s3://").partition("/")
    targets = [{"Bucket": bucket, "Key": f"{prefix}/blobs/{path.name}"} for path in paths]
    return [client.generate_presigned_url("get_object", Params=target) for target in targets]


def webdataset(job: Pass) -> Batches:
    """Plain WebDataset over the same tars, with a shuffle buffer of BUFFER samples."""
    library = importlib.import_module("webdataset")
    shards = library.WebDataset(_urls(job), shardshuffle=100, seed=0, nodesplitter=library.split_by_node)
    return stacked(shards.shuffle(BUFFER, rng=random.Random(0)), job.kind)


def streaming(job: Pass) -> Batches:
    """MosaicML Streaming over MDS shards."""
    places = {"remote": job.at("mds"), "local": job.cache} if job.remote else {"local": job.at("mds")}
    found = library_of("streaming").StreamingDataset(**places, shuffle=True, shuffle_seed=0, batch_size=BATCH)
    return stacked(found, job.kind)


def litdata(job: Pass) -> Batches:
    """LitData over its optimised chunks."""
    own = {"cache_dir": job.cache} if job.remote else {}
    found = library_of("litdata").StreamingDataset(job.at("lit"), shuffle=True, seed=0, **own)
    return stacked(found, job.kind)


SIDES: dict[str, Callable[[Pass], Batches]] = {
    side.__name__: side for side in (memory, memory_once, lsr, files, whole, webdataset, streaming, litdata)
}
BEFORE: dict[str, Callable[[Pass], object]] = {"memory": _held, "memory_once": _held, "whole": _tars}
"""What a side may have ready before the clock starts."""
