"""Every byte of a result against its root record."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lsr.core.errors import IntegrityError, NotFoundError
from lsr.data.index import IndexRow
from lsr.data.manifest import Manifest, ShardRow
from lsr.data.shards import index_of, member_offsets
from lsr.store import Store
from lsr.store.content import Blob, get_blob


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken object. path: its key in the store. problem: a sentence that names the rule and the value found."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class Journal:
    """What a verification has found whole so far, in a local file, so that one that was interrupted can resume.

    A shard counts while its tar and its index have the size and etag that they had when they were read. A line that was
    cut short by the end of a process counts for nothing.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().splitlines() if resume and path.exists() else []
        self._known = {line for line in lines if line.endswith(b"]")}
        if not resume:
            path.unlink(missing_ok=True)
        self._lock = threading.Lock()

    def whole(self, store: Store, row: ShardRow) -> bool:
        """Whether the shard was found whole and has not changed since."""
        return bool(self._known) and self._line(store, row) in self._known

    def add(self, store: Store, row: ShardRow) -> None:
        """The shard was found whole."""
        line = self._line(store, row)
        with self._lock, open(self.path, "ab") as file:
            # A line end first: the line before may have been cut short.
            file.write(b"\n" + line)

    def finish(self) -> None:
        """A finished verification leaves nothing to resume."""
        self.path.unlink(missing_ok=True)

    @staticmethod
    def _line(store: Store, row: ShardRow) -> bytes:
        heads = [store.head(path) for path in (row.path, row.index)]
        plain = [[head.key, head.size, head.etag] for head in heads if head is not None]
        return json.dumps(plain).encode()


def verify(
    store: Store,
    manifest: Manifest,
    *,
    threads: int = 1,
    journal: Journal | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[Fault]:
    """Faults of the data set, none if it is whole: the root's own digest, every tar and index, the skipped files' list.

    Reads every byte once, of `threads` shards at a time, and calls `advance` after each. With a journal, shards that it
    knows to be whole are not read again, only their indices are. Raises nothing for broken data; StoreError when the
    store itself cannot be read.
    """

    def examine(row: ShardRow) -> tuple[list[Fault], set[str]]:
        if journal is None:
            return _examine(store, row)
        if journal.whole(store, row):
            return [], {found.key for found in index_of(store, row)}
        found = _examine(store, row)
        if not found[0]:
            journal.add(store, row)
        return found

    faults = verify_root(store, manifest)
    seen: set[str] = set()
    with ThreadPoolExecutor(max(threads, 1), thread_name_prefix="verify") as pool:
        try:
            for row, (found, keys) in zip(manifest.shards, pool.map(examine, manifest.shards)):
                faults += found
                faults += [Fault(row.path, f"Key {key} occurs in an earlier shard too.") for key in sorted(keys & seen)]
                seen |= keys
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return faults


def verify_root(store: Store, manifest: Manifest) -> list[Fault]:
    """Faults of the manifest's own object and of its list of skipped files."""
    path = manifest.path
    faults = []
    try:
        if store.read(path) != manifest.to_bytes():
            faults.append(Fault(path, f"{store.uri}/{path} does not have the digest in its name."))
    except NotFoundError as error:
        faults.append(Fault(path, str(error)))
    return faults + (verify_blobs(store, [manifest.skipped]) if manifest.skipped is not None else [])


def verify_blobs(
    store: Store, blobs: Iterable[Blob], *, threads: int = 1, advance: Callable[[], None] = lambda: None
) -> list[Fault]:
    """Faults of blobs whose content is not read: digest and size. `advance` is called after each."""

    def whole(blob: Blob) -> list[Fault]:
        def read() -> None:
            if (found := len(get_blob(store, blob.path))) != blob.bytes:
                raise IntegrityError(f"{store.uri}/{blob.path} has {found} bytes, its record says {blob.bytes}.")

        return _trial(blob.path, read)

    faults: list[Fault] = []
    with ThreadPoolExecutor(max(threads, 1), thread_name_prefix="verify") as pool:
        for found in pool.map(whole, blobs):
            faults += found
            advance()
    return faults


def _trial(path: str, read: Callable[[], object]) -> list[Fault]:
    try:
        read()
    except (IntegrityError, NotFoundError) as error:
        return [Fault(path, str(error))]
    return []


def _examine(store: Store, row: ShardRow) -> tuple[list[Fault], set[str]]:
    """The shard's faults, and the keys that its index names."""
    rows: list[IndexRow] = []
    members: dict[str, tuple[int, int]] = {}

    def index() -> None:
        rows.extend(index_of(store, row))

    def tar() -> None:
        data = get_blob(store, row.path)
        if len(data) != row.bytes:
            raise IntegrityError(f"{store.uri}/{row.path} has {len(data)} bytes, its manifest says {row.bytes}.")
        members.update(member_offsets(io.BytesIO(data), f"{store.uri}/{row.path}"))

    faults = _trial(row.index, index) + _trial(row.path, tar)
    keys = {r.key for r in rows}
    if not faults and not (len(keys) == len(rows) == row.samples):
        text = f"{row.index} has {len(rows)} rows and {len(keys)} keys, the manifest says {row.samples} samples."
        faults.append(Fault(row.index, text))
    if not faults and members != {f"{r.key}.{ext}": place for r in rows for ext, place in r.members.items()}:
        faults.append(Fault(row.index, f"{row.index} does not describe the members of {row.path}."))
    return faults, keys
