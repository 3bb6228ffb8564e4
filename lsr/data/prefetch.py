"""Preparing batches ahead of the caller in one background thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from lsr.core.errors import InputError

Batch = dict[str, Tensor]

AHEAD = 4


class Prefetcher:
    """Calls `make(start, stop)` in one background thread for the ranges that the caller is expected to ask for next.

    period: samples per global batch. A rank asks for the same ranges in every step, shifted by the period, so those
    seen so far, repeated, are the expectation. Asking for another one is right too, only slower. An error raised in the
    thread is raised again where its range is asked for.
    """

    def __init__(self, make: Callable[[int, int], Batch], period: int, ahead: int = AHEAD) -> None:
        self._make, self._period, self._ahead = make, period, ahead
        # (place of the first sample in its global batch, samples), in the order in which they were first asked for.
        self._seen: list[tuple[int, int]] = []
        self._coming: dict[tuple[int, int], Future[Batch]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._closed = False

    def get(self, start: int, stop: int) -> Batch:
        """The samples at positions start .. stop - 1, from the thread if they were expected.

        Raises InputError for an empty or negative range, and after `close`.
        """
        if self._closed:
            raise InputError(f"Positions {start} to {stop - 1} were asked of a source that is closed.")
        if not 0 <= start < stop:
            raise InputError(f"A batch needs positions with 0 <= start < stop, found start {start} and stop {stop}.")
        step, place = divmod(start, self._period)
        asked = (place, stop - start)
        if asked not in self._seen:
            self._seen.append(asked)
        future = self._coming.pop((start, stop), None)
        if future is None:
            # As at the first batch of a run: the caller waits for it, and the thread would take turns with it.
            batch = self._make(start, stop)
            self._expect(step, asked)
            return batch
        self._expect(step, asked)
        return future.result()

    def _expect(self, step: int, asked: tuple[int, int]) -> None:
        first = self._seen.index(asked) + 1
        wanted = []
        for following in range(first, first + self._ahead):
            more, which = divmod(following, len(self._seen))
            place, samples = self._seen[which]
            start = (step + more) * self._period + place
            wanted.append((start, start + samples))
        for stale in self._coming.keys() - set(wanted):
            self._coming.pop(stale).cancel()
        for key in wanted:
            if key not in self._coming:
                self._coming[key] = self._thread.submit(self._make, *key)

    def close(self) -> None:
        """End the thread; waits at most for the one batch it is at."""
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()
