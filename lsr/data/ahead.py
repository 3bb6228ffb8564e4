"""Shards made ready in background threads before they are read: far ones downloaded, local ones' digests checked.

What a thread meets is met again, and raised, where the shard is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from lsr.core.errors import LsrError
from lsr.data.manifest import ShardRow

# Hashing and downloading let other threads run; several are for networks and disks, which are faster when asked for
# several things.
AT_ONCE = 4
HOLD_SECONDS = 1.0


class Ahead:
    """Calls `ready(row)` for shards that will be read, several at a time. room: bytes that they may have together.

    The first wait until shards are wanted again, at most HOLD_SECONDS: what is read in between, by ranges, is the
    batch that a resumed run waits for, and whole shards would take the network, the disk and the processor from it.
    """

    def __init__(self, ready: Callable[[ShardRow], None], room: int | None = None) -> None:
        self._ready, self._room = ready, room
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="shards")
        self._coming: dict[str, Future[None]] = {}
        self._wanted: list[str] | None = None
        self._go = threading.Event()
        self._closed = False

    def want(self, rows: Sequence[ShardRow]) -> None:
        """Make these ready, in this order, as far as there is room; forget what was wanted before and has not begun."""
        names = [row.sha256 for row in rows]
        if self._wanted is not None:
            self._go.set()
        if names == self._wanted:
            return
        self._wanted = names
        for name in self._coming.keys() - set(names):
            self._coming.pop(name).cancel()
        room = self._room
        for row in rows:
            if room is not None:
                room -= row.bytes
                if room < 0:
                    return
            if row.sha256 not in self._coming:
                self._coming[row.sha256] = self._threads.submit(self._make_ready, row)

    def under_way(self, row: ShardRow) -> bool:
        """Whether the shard is wanted and neither ready nor lost yet."""
        coming = self._coming.get(row.sha256)
        return coming is not None and not coming.done()

    def wait(self, row: ShardRow) -> None:
        """Return when the shard is ready or lost, at once if it is not wanted."""
        self._go.set()
        coming = self._coming.get(row.sha256)
        if coming is not None:
            wait([coming])

    def _make_ready(self, row: ShardRow) -> None:
        self._go.wait(HOLD_SECONDS)
        if self._closed:
            return
        # Who reads the shard meets the same error, in its own thread.
        with suppress(LsrError):
            self._ready(row)

    def close(self) -> None:
        """End the threads; waits for what is under way."""
        self._closed = True
        self._go.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
