"""Writing WebDataset tars: the one place that does.

Equal samples give equal bytes on every machine: no times, one owner, members sorted by extension.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lsr.data.index import IndexRow, write_index
from lsr.data.manifest import ShardRow
from lsr.data.shards import BLOCK, member_offsets
from lsr.store import Store
from lsr.store.content import put_blob

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """What is written: members by extension, and what the index says of them (see `IndexRow`)."""

    key: str
    source: str
    split: str
    width: int
    height: int
    members: Mapping[str, bytes]


def tar_size(member_bytes: Iterable[int]) -> int:
    """Bytes that members of these sizes take in a tar: a header block each, and the payload in whole blocks."""
    return sum(BLOCK + -(-size // BLOCK) * BLOCK for size in member_bytes)


def pack(items: Iterable[T], sizes: Iterable[int], limit: int) -> Iterator[list[T]]:
    """Cut a sequence into runs whose sizes add up to at most `limit`; an item above it gets a run of its own."""
    run: list[T] = []
    total = 0
    for item, size in zip(items, sizes):
        if run and total + size > limit:
            yield run
            run, total = [], 0
        run.append(item)
        total += size
    if run:
        yield run


def write_tar(samples: Sequence[Sample]) -> tuple[bytes, list[IndexRow]]:
    """The tar's bytes and its index rows, in the order of `samples`.

    Offsets are read back from the bytes themselves, so that an index cannot disagree with its tar.
    """
    # webdataset imports torch, seconds that a process which only lists or plans should not pay.
    from webdataset import TarWriter

    out = io.BytesIO()
    with TarWriter(out, user="lsr", group="lsr", mtime=0, encoder=False) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, **sample.members})
    found = member_offsets(out, "the tar just written")
    rows = [
        IndexRow(s.key, s.source, s.split, s.width, s.height, {ext: found[f"{s.key}.{ext}"] for ext in s.members})
        for s in samples
    ]
    return out.getvalue(), rows


def store_shard(store: Store, data: bytes, rows: Sequence[IndexRow]) -> ShardRow:
    """Put a tar and its index into the store, if they are not there; the manifest's row for them."""
    tar = put_blob(store, data, "tar")
    index = put_blob(store, write_index(rows), "parquet")
    return ShardRow(
        path=tar.path,
        sha256=tar.sha256,
        bytes=tar.bytes,
        samples=len(rows),
        index=index.path,
        index_bytes=index.bytes,
    )
