"""Preparing lanes ahead of the caller in one background thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from lsr.core.errors import InputError

Batch = dict[str, Tensor]

AHEAD = 4


class Prefetcher:
    """Calls `make(step, lane)` in one background thread for the lanes the caller is expected to ask for next.

    A rank asks for the same lanes in every step, so the lanes seen so far, repeated, are the expectation. Asking for
    another one is right too, only slower. An error raised in the thread is raised again where its lane is asked for.
    """

    def __init__(self, make: Callable[[int, int], Batch], ahead: int = AHEAD) -> None:
        self._make, self._ahead = make, ahead
        self._seen: list[int] = []
        self._coming: dict[tuple[int, int], Future[Batch]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lanes")
        self._closed = False

    def get(self, step: int, lane: int) -> Batch:
        """The lane, from the thread if it was expected."""
        if self._closed:
            raise InputError(f"Lane {lane} of step {step} was asked of a source that is closed.")
        future = self._coming.pop((step, lane), None)
        if lane not in self._seen:
            self._seen.append(lane)
        if future is None:
            # As at the first lane of a run: the caller waits for it, and the thread would take turns with it.
            batch = self._make(step, lane)
            self._expect(step, lane)
            return batch
        self._expect(step, lane)
        return future.result()

    def _expect(self, step: int, lane: int) -> None:
        first = self._seen.index(lane) + 1
        steps = (divmod(first + i, len(self._seen)) for i in range(self._ahead))
        wanted = [(step + more, self._seen[which]) for more, which in steps]
        for stale in self._coming.keys() - set(wanted):
            self._coming.pop(stale).cancel()
        for key in wanted:
            if key not in self._coming:
                self._coming[key] = self._thread.submit(self._make, *key)

    def close(self) -> None:
        """End the thread; waits at most for the one lane it is at."""
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()
