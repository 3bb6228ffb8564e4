"""A job's output as it is written, over one connection, so that a log of days is not downloaded again and again."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_AGAIN_SECONDS = 5.0
# Ray's server reads the file once a second, and the job's status once it has read to the end.
_LAST_WORDS_SECONDS = 5.0


class LogTail:
    """Follows the log of a job in a thread of its own; `pieces` hands out what has arrived, in the caller's thread.

    client: makes Ray's job client. A connection that breaks is opened again; the server then sends the log from its
    beginning, of which what was handed out already is skipped.
    """

    def __init__(self, client: Callable[[], Any], submission_id: str) -> None:
        self._client, self._job = client, submission_id
        self._arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._seen = 0
        self._stop = threading.Event()
        self._closed = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"log-of-{submission_id}")
        self._thread.start()

    def pieces(self) -> str:
        """What arrived since the last call."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._arrived.get_nowait())
        return "".join(found)

    def rest(self) -> str:
        """What is left of the log of a job that has ended."""
        self._closed.wait(_LAST_WORDS_SECONDS)
        return self.pieces()

    def close(self) -> None:
        """Let go of the connection."""
        self._stop.set()
        if self._loop is not None:
            # The loop may end between the two lines.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(Exception, asyncio.CancelledError):
                asyncio.run(self._follow())
                # The server closes the connection of its own accord when the job has ended.
                self._closed.set()
            self._loop = None
            self._stop.wait(_AGAIN_SECONDS)

    async def _follow(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._loop = task, asyncio.get_running_loop()
        sent = 0
        async for text in self._client().tail_job_logs(self._job):
            if self._stop.is_set():
                return
            new = text[max(self._seen - sent, 0) :]
            sent += len(text)
            if new:
                self._seen = sent
                self._arrived.put(new)
