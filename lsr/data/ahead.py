"""What is done in background threads for shards that will be read soon: downloads of far ones, digests of local ones.

May import lsr.data.cache, lsr.store, lsr.core. What a thread meets is raised where the shard is read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from lsr.core.errors import LsrError
from lsr.data.cache import ShardCache
from lsr.data.manifest import ShardRow
from lsr.store import Store

DOWNLOADS = 4
HOLD_SECONDS = 1.0
CHECKS = 4


class Fetcher:
    """Downloads shards into a cache in background threads, ahead of those who read them.

    The first downloads wait until shards are wanted again, at most HOLD_SECONDS: what is read in between, by ranges, is
    the lane a resumed run waits for, and whole shards would take the network and the processor from it.
    """

    def __init__(self, store: Store, cache: ShardCache) -> None:
        self._store, self._cache = store, cache
        self._threads = ThreadPoolExecutor(max_workers=DOWNLOADS, thread_name_prefix="shards")
        self._coming: dict[str, Future[None]] = {}
        self._wanted: list[str] | None = None
        self._go = threading.Event()
        self._closed = False

    def want(self, rows: Sequence[ShardRow]) -> None:
        """Fetch these, in this order, as far as the cache holds them together; forget what was wanted before."""
        names = [row.sha256 for row in rows]
        if self._wanted is not None:
            self._go.set()
        if names == self._wanted:
            return
        self._wanted = names
        for name in self._coming.keys() - set(names):
            self._coming.pop(name).cancel()
        room = self._cache.limit
        for row in rows:
            room -= row.bytes
            if room < 0:
                return
            if row.sha256 not in self._coming:
                self._coming[row.sha256] = self._threads.submit(self._fetch, row)

    def under_way(self, row: ShardRow) -> bool:
        """Whether the shard is wanted and neither there nor lost yet."""
        coming = self._coming.get(row.sha256)
        return coming is not None and not coming.done()

    def _fetch(self, row: ShardRow) -> None:
        self._go.wait(HOLD_SECONDS)
        if self._closed:
            return
        # Who reads the shard meets the same error, in its own thread.
        with suppress(LsrError):
            os.close(self._cache.open(self._store, row))

    def close(self) -> None:
        """End the threads; waits for the downloads that are under way."""
        self._closed = True
        self._go.set()
        self._threads.shutdown(wait=True, cancel_futures=True)


class Checker:
    """Checks digests of shards in background threads, in the order they are wanted; who reads a shard waits for its
    own. check: raises what is wrong with a shard. right: digests of those that need no check, added to here.
    """

    def __init__(self, check: Callable[[ShardRow], None], right: set[str]) -> None:
        self._check, self._right = check, right
        # Hashing lets other threads run; more than one is for disks, which are faster when asked for several things.
        self._threads = ThreadPoolExecutor(max_workers=CHECKS, thread_name_prefix="digests")
        self._coming: dict[str, Future[None]] = {}

    def want(self, rows: Sequence[ShardRow]) -> None:
        """Check these ahead; forget what was wanted before and has not begun."""
        names = {row.sha256 for row in rows}
        for name in self._coming.keys() - names:
            if self._coming[name].cancel():
                del self._coming[name]
        for row in rows:
            if row.sha256 not in self._right and row.sha256 not in self._coming:
                self._coming[row.sha256] = self._threads.submit(self._check, row)

    def require(self, row: ShardRow) -> None:
        """Return when the shard is known to be right. Raises what its check raised; the next call checks again."""
        if row.sha256 in self._right:
            return
        coming = self._coming.pop(row.sha256, None)
        if coming is None:
            self._check(row)
        else:
            coming.result()
        self._right.add(row.sha256)

    def close(self) -> None:
        """End the threads; waits for the checks that are under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)
