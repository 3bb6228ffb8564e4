"""Reading shards. The only module that reads WebDataset.

Sequentially through the webdataset library, or any sample by its global index through the shards' own indices, from
local files. Nothing is ever cut short silently: a tar that does not end as one is an error.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from lsr.core.errors import InputError, IntegrityError
from lsr.data.ahead import Ahead
from lsr.data.cache import ShardCache, check_file
from lsr.data.index import IndexRow, read_index
from lsr.data.manifest import Manifest, ShardRow
from lsr.store import Store
from lsr.store.content import get_blob

BLOCK = tarfile.BLOCKSIZE


def member_offsets(stream: BinaryIO, where: str) -> dict[str, tuple[int, int]]:
    """(offset, size) of every regular file's payload inside the seekable tar `stream`, by name, in tar order.

    Reads headers only. Raises IntegrityError naming `where` when the tar is cut short, damaged or names a file twice.
    """
    found: dict[str, tuple[int, int]] = {}
    end = 0
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isreg():
                    if member.name in found:
                        raise IntegrityError(f"{where} holds {member.name} twice.")
                    found[member.name] = (member.offset_data, member.size)
                end = member.offset_data + -(-member.size // BLOCK) * BLOCK if member.isreg() else member.offset_data
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise IntegrityError(f"{where} is not a whole tar: {error}.") from error
    # tarfile takes a damaged header, or an end between two members, for the end of the archive.
    stream.seek(end)
    tail = stream.read(2 * BLOCK)
    if len(tail) < 2 * BLOCK or tail.strip(b"\0"):
        raise IntegrityError(f"{where} is cut short or damaged after {len(found)} files, at byte {end}.")
    return found


def iter_shard(data: bytes, where: str = "this shard") -> Iterator[dict[str, Any]]:
    """Samples of a tar in order, as WebDataset groups them: {"__key__": str, extension: bytes}.

    Raises IntegrityError naming `where` before the first sample when the tar is cut short or damaged.
    """
    # webdataset imports torch, seconds that a process which only plans or packs should not pay.
    from webdataset.tariterators import group_by_keys, tar_file_expander

    member_offsets(io.BytesIO(data), where)
    files = tar_file_expander([{"url": where, "stream": io.BytesIO(data)}])
    try:
        for sample in group_by_keys(files):
            del sample["__url__"]
            yield sample
    except (tarfile.TarError, OSError, ValueError) as error:
        raise IntegrityError(f"{where} is not a whole WebDataset tar: {error.args[:1]}.") from error


def index_of(store: Store, row: ShardRow) -> list[IndexRow]:
    """The index of one shard of a manifest, in the order of its samples. Raises IntegrityError naming the index."""
    return read_index(get_blob(store, row.index), f"{store.uri}/{row.index}")


def index_rows(store: Store, manifest: Manifest) -> Iterator[IndexRow]:
    """The index rows of every sample of a data set, shard by shard; no shard is read."""
    return (row for shard in manifest.shards for row in index_of(store, shard))


def read_samples(store: Store, row: ShardRow) -> Iterator[dict[str, Any]]:
    """Samples of one shard of a manifest, its digest and its count checked. Raises IntegrityError naming the shard."""
    found = 0
    for sample in iter_shard(get_blob(store, row.path), f"{store.uri}/{row.path}"):
        found += 1
        yield sample
    if found != row.samples:
        raise IntegrityError(f"{store.uri}/{row.path} holds {found} samples, its manifest says {row.samples}.")


class _Shard:
    """One open shard: its tar and its index. Read by pread, not mapped: a file that is cut short or lost under a map
    ends the process by a bus error, here it is a short read."""

    def __init__(self, file: int, rows: list[IndexRow], where: str) -> None:
        self._file = file
        self._where = where
        self.rows = rows

    def members(self, row: IndexRow) -> dict[str, bytes]:
        found = {ext: os.pread(self._file, size, offset) for ext, (offset, size) in row.members.items()}
        for ext, (offset, size) in row.members.items():
            if len(found[ext]) != size:
                raise IntegrityError(f"{self._where} ends inside {row.key}.{ext}, at byte {offset + len(found[ext])}.")
        return found

    def close(self) -> None:
        os.close(self._file)


class _Piece:
    """What was read of a sample before its shard was there to check it against."""

    def __init__(self, key: str, start: int, data: bytes) -> None:
        self.key, self._start, self._size = key, start, len(data)
        self._digest = hashlib.sha256(data).digest()

    def is_in(self, file: int) -> bool:
        return hashlib.sha256(os.pread(file, self._size, self._start)).digest() == self._digest


class SampleReader:
    """Any sample of a data set by its global index, 0 .. len - 1, shard by shard in manifest order.

    Shards of a `file://` store are read where they are; others are downloaded whole into the folder `cache`
    (`lsr.data.cache`). A shard's digest is checked once a process, before its first sample. Only of a shard that is
    expected and still under way, its download or its check, are samples read by ranges; those are held against the
    shard when it is known to be right, at the latest by `verify`. At most `open_shards` are kept open. Safe to use from
    several threads.

    Raises InputError when the store is not local and no cache is given; reading raises IntegrityError naming a corrupt
    shard and NotFoundError for a missing one.
    """

    def __init__(self, store: Store, manifest: Manifest, cache: Path | None = None, open_shards: int = 64) -> None:
        self._local = Path(store.uri.removeprefix("file://")) if store.uri.startswith("file://") else None
        if self._local is None and cache is None:
            raise InputError(f"Reading samples of {store.uri} needs a cache folder for its shards; none was given.")
        self.store, self.manifest, self._limit = store, manifest, open_shards
        self._cache = ShardCache(cache) if self._local is None and cache is not None else None
        self._ends = list(accumulate(row.samples for row in manifest.shards))
        self._open: OrderedDict[int, _Shard] = OrderedDict()
        self._indices: OrderedDict[int, list[IndexRow]] = OrderedDict()
        self._right: set[str] = set()
        self._lock = threading.RLock()
        self._ahead: Ahead | None = None
        self._pieces: dict[int, list[_Piece]] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, index: int) -> IndexRow:
        """The index row of sample `index`; its shard is not read."""
        number, inside = self._locate(index)
        with self._lock:
            return self._rows(number)[inside]

    def read(self, index: int) -> dict[str, bytes]:
        """The members of sample `index`, by extension."""
        number, inside = self._locate(index)
        with self._lock:
            if number not in self._open and self._under_way(number):
                return self._by_range(number, inside)
            shard = self._shard(number)
            return shard.members(shard.rows[inside])

    def expect(self, numbers: Sequence[int]) -> None:
        """Say which shards will be read next: in the background and in this order, those that must come from afar are
        downloaded, no more of them than the cache holds, and local ones have their digests checked. An error of that is
        raised when its shard is read.
        """
        rows = [self.manifest.shards[number] for number in numbers]
        with self._lock:
            if self._ahead is None:
                self._ahead = Ahead(self._make_ready, None if self._cache is None else self._cache.limit)
            self._ahead.want(rows)

    def verify(self) -> None:
        """Return when all that was read so far is known to be right; waits for shards that are under way.

        Raises what reading the next sample of one of them would raise.
        """
        with self._lock:
            unsure, ahead = list(self._pieces), self._ahead
        for number in unsure:
            if ahead is not None:
                ahead.wait(self.manifest.shards[number])
            with self._lock:
                self._shard(number)

    def describe(self, index: int) -> str:
        """Names sample `index` in errors: its key and its shard."""
        number, _ = self._locate(index)
        return f"Sample {self.row(index).key} of {self._where(self.manifest.shards[number])}"

    def close(self) -> None:
        """Close every open shard and end what runs in the background; the reader can be used again."""
        with self._lock:
            ahead, self._ahead = self._ahead, None
            while self._open:
                self._open.popitem()[1].close()
        if ahead is not None:
            ahead.close()

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise InputError(f"Data set {self.manifest.name} has samples 0 to {len(self) - 1}, asked for {index}.")
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number] - self.manifest.shards[number].samples)

    def _where(self, row: ShardRow) -> str:
        return f"{self.store.uri}/{row.path}"

    def _rows(self, number: int) -> list[IndexRow]:
        if number in self._indices:
            self._indices.move_to_end(number)
            return self._indices[number]
        row = self.manifest.shards[number]
        rows = index_of(self.store, row)
        if len(rows) != row.samples:
            raise IntegrityError(f"{self._where(row)} has {row.samples} samples, its index {row.index} {len(rows)}.")
        self._indices[number] = rows
        while len(self._indices) > self._limit:
            self._indices.popitem(last=False)
        return rows

    def _under_way(self, number: int) -> bool:
        return self._ahead is not None and self._ahead.under_way(self.manifest.shards[number])

    def _by_range(self, number: int, inside: int) -> dict[str, bytes]:
        row, shard = self._rows(number)[inside], self.manifest.shards[number]
        start = min(offset for offset, _ in row.members.values())
        end = max(offset + size for offset, size in row.members.values())
        data = self.store.read(shard.path, start, end - start)
        if len(data) != end - start:
            raise IntegrityError(f"{self._where(shard)} ends inside {row.key}, at byte {start + len(data)}.")
        self._pieces.setdefault(number, []).append(_Piece(row.key, start, data))
        return {ext: data[offset - start : offset - start + size] for ext, (offset, size) in row.members.items()}

    def _shard(self, number: int) -> _Shard:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        row = self.manifest.shards[number]
        rows = self._rows(number)
        file = self._file(row)
        # Kept where they differ: whoever reads on or verifies must hear of it, not only the first.
        for piece in self._pieces.get(number, ()):
            if not piece.is_in(file):
                os.close(file)
                raise IntegrityError(
                    f"{self._where(row)} gave other bytes for {piece.key} when it was read by range; run it again."
                )
        self._pieces.pop(number, None)
        self._open[number] = _Shard(file, rows, self._where(row))
        while len(self._open) > self._limit:
            self._open.popitem(last=False)[1].close()
        return self._open[number]

    def _make_ready(self, row: ShardRow) -> None:
        os.close(self._file(row))

    def _file(self, row: ShardRow) -> int:
        """A descriptor of the shard's file, which is known to be right; the caller closes it."""
        if self._local is None:
            assert self._cache is not None
            return self._cache.open(self.store, row)
        path = self._local / row.path
        try:
            if row.sha256 not in self._right:
                check_file(path, row, self._where(row))
                self._right.add(row.sha256)
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            self.store.read(row.path, 0, 1)  # raises the store's own error
            raise
