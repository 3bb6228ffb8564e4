"""Live progress of long work, behind one small Protocol: who works does not draw on a terminal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol

from lsr.core.background import beside
from lsr.core.errors import LsrError

POLL_SECONDS = 2.0

PROGRESS = "progress/"
"""Where a store keeps what workers on other machines write for the driver to show; a kill leaves it, gc removes it."""


class Task(Protocol):
    """One line of progress."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Move on by `amount` units and show `note` beside the bar (a loss, a rate, a file name)."""


class Progress(Protocol):
    """Opens progress lines."""

    def task(self, name: str, total: float | None, unit: str = "") -> AbstractContextManager[Task]:
        """A line named `name`; `total` None means that the end is not known."""


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        return


class Quiet:
    """Progress that draws nothing: tests, Ray workers, `--json`."""

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        yield _Silent()


class RichProgress:
    """Bars on a terminal; plain lines, at most one every `every` seconds per task, where stderr is not one."""

    def __init__(self, every: float = 5.0) -> None:
        self._every = every

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        from rich.console import Console

        console = Console(stderr=True)
        if console.is_terminal:
            yield from self._bar(console, name, total, unit)
        else:
            yield from self._lines(console, name, total, unit)

    def _bar(self, console: object, name: str, total: float | None, unit: str) -> Iterator[Task]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:>12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=console, transient=False) as bars:  # type: ignore[arg-type]
            task_id = bars.add_task(name, total=total, note="")

            class _Bar:
                def advance(self, amount: float = 1, note: str = "") -> None:
                    fields = {"note": note} if note else {}
                    bars.update(task_id, advance=amount, **fields)  # type: ignore[arg-type]

            yield _Bar()

    def _lines(self, console: object, name: str, total: float | None, unit: str) -> Iterator[Task]:
        every, started = self._every, time.monotonic()

        class _Line:
            done, last = 0.0, started

            def advance(self, amount: float = 1, note: str = "") -> None:
                self.done += amount
                now = time.monotonic()
                if now - self.last < every:
                    return
                self.last = now
                rate = self.done / max(now - started, 1e-9)
                left = f", {max(total - self.done, 0) / rate:.0f} s left" if total and rate else ""
                of = f" of {total:g}" if total else ""
                console.print(  # type: ignore[attr-defined]
                    f"{name}: {self.done:g}{of} {unit}, {rate:.3g}/s{left} {note}".rstrip(), highlight=False
                )

        yield _Line()


class RelayedProgress:
    """Progress of a worker process on any machine, for a driver that shows it with `follow`.

    send: puts small bytes where the driver reads them. It is called at most once in POLL_SECONDS and at the end; an
    LsrError of it is passed over, since work does not stop for its progress.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        send = self._send

        class _Sent:
            done, last = 0.0, 0.0

            def advance(self, amount: float = 1, note: str = "") -> None:
                self.done += amount
                now = time.monotonic()
                if now - self.last < POLL_SECONDS and self.done != total:
                    return
                self.last = now
                with suppress(LsrError):
                    send(json.dumps({"done": self.done, "note": note}).encode())

        yield _Sent()


@contextmanager
def follow(
    receive: Callable[[], bytes], progress: Progress, name: str, total: float | None, unit: str = ""
) -> Iterator[None]:
    """While the block runs, show in `progress` what a worker sends through RelayedProgress.

    receive: what was sent last; an LsrError of it means that nothing was yet.
    """
    with progress.task(name, total, unit) as task:
        seen = 0.0

        def poll() -> None:
            nonlocal seen
            try:
                found = json.loads(receive())
            except (LsrError, ValueError):
                return
            task.advance(found["done"] - seen, found["note"])
            seen = found["done"]

        def watch(stop: threading.Event) -> None:
            while not stop.wait(POLL_SECONDS):
                poll()

        try:
            with beside(watch, f"follow-{name}"):
                yield
        finally:
            poll()
