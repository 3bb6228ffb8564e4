"""Whole shards in one folder of this machine, shared by every process that reads them.

A file is there when it is complete and its digest was right; the ones used longest ago go when the folder is full.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lsr.core.errors import IntegrityError
from lsr.core.files import file_sha256
from lsr.core.processes import process_token
from lsr.core.settings import load_settings
from lsr.data.manifest import ShardRow
from lsr.store import Store
from lsr.store.files import make_folder, sweep

LOCKS = "locks"


def shards_in(cache: Path) -> Path:
    """The folder of downloaded shards below the cache folder of the settings: one for all processes of a machine."""
    return cache / "shards"


def check_file(path: Path, row: ShardRow, where: str) -> None:
    """Raises IntegrityError, naming `where`, when the file is not the shard; FileNotFoundError without one."""
    _check(file_sha256(path), row, where)


def _check(found: str, row: ShardRow, where: str) -> None:
    if found != row.sha256:
        raise IntegrityError(
            f"Shard {where} is corrupt: its sha256 is {found}, not the one in its name; "
            "delete it and run the stage that made it again."
        )


class ShardCache:
    """Shards below `folder`, of at most `limit` bytes together (None: LSR_CACHE_BYTES).

    A shard that is open stays readable when it is removed, and its space is free when the last reader closes it; so one
    shard may always be held, whatever the limit. Safe to use from several threads and processes.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder
        self.limit = load_settings().cache_bytes if limit is None else limit
        self._checked: set[str] = set()
        self._ready = False

    def open(self, store: Store, row: ShardRow) -> int:
        """A file descriptor of the shard, downloaded unless it is there, its digest checked once a process.

        The caller closes it. Raises NotFoundError for a shard that the store lacks, IntegrityError for a corrupt one.
        """
        self._prepare()
        path = self.folder / f"{row.sha256}.tar"
        with self._locked(row.sha256, fcntl.LOCK_SH):
            found = self._open_whole(path, row)
        if found is not None:
            return found
        # Of the processes of one machine one downloads, the others wait. The kernel frees a dead one's lock.
        with self._locked(row.sha256, fcntl.LOCK_EX):
            found = self._open_whole(path, row)
            if found is None:
                self._download(store, row, path)
                found = os.open(path, os.O_RDONLY)
        self._make_room(path)
        return found

    def holds(self, row: ShardRow) -> bool:
        """Whether the shard's file is there, checked or not."""
        return (self.folder / f"{row.sha256}.tar").exists()

    def _prepare(self) -> None:
        if not self._ready:
            make_folder(self.folder / LOCKS)
            sweep(self.folder)
            self._ready = True

    def _open_whole(self, path: Path, row: ShardRow) -> int | None:
        try:
            if row.sha256 not in self._checked:
                check_file(path, row, str(path))
            found = os.open(path, os.O_RDONLY)
        except (FileNotFoundError, IntegrityError):
            return None
        self._checked.add(row.sha256)
        # The time of the last use, for `_make_room`.
        os.utime(path)
        return found

    def _download(self, store: Store, row: ShardRow, path: Path) -> None:
        part = self.folder / f"{process_token()}-{secrets.token_hex(8)}.tmp"
        try:
            _check(store.download(row.path, part), row, f"{store.uri}/{row.path}")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        self._checked.add(row.sha256)

    def _make_room(self, keep: Path) -> None:
        """Remove the shards used longest ago until the rest fits; those that somebody is just opening stay."""
        with open(self.folder / LOCKS / "room", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = []
            for path in self.folder.glob("*.tar"):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    files.append((status.st_mtime_ns, status.st_size, path))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self.limit:
                    return
                if path == keep:
                    continue
                with suppress(BlockingIOError), self._locked(path.stem, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    path.unlink(missing_ok=True)
                    total -= size

    @contextmanager
    def _locked(self, digest: str, how: int) -> Iterator[None]:
        # 256 locks serve all shards: a file a shard would stay behind for ever.
        with open(self.folder / LOCKS / digest[:2], "w") as lock:
            fcntl.flock(lock, how)
            yield
