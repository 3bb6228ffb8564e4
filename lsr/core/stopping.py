"""SIGTERM as a wish to stop: a worker that is preempted ends its step, saves and leaves. Standard library only."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_Call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_waiting: list[Any] = []


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """While the block runs, SIGTERM only sets what the yielded function returns; the old handler comes back after it.

    May be entered in any thread: Ray Train runs a worker's function beside the main thread, which alone may set
    handlers and does so as soon as it runs Python again (Ray asks it for its state several times a second).
    """
    wished = threading.Event()
    before: list[Any] = []

    def wish(number: int, frame: FrameType | None) -> None:
        wished.set()

    def install() -> None:
        before.append(signal.signal(signal.SIGTERM, wish))

    def restore() -> None:
        if before and signal.getsignal(signal.SIGTERM) is wish:
            signal.signal(signal.SIGTERM, before.pop())

    _on_main_thread(install)
    try:
        yield wished.is_set
    finally:
        _on_main_thread(restore)


def _on_main_thread(work: Callable[[], None]) -> None:
    """Run `work` now if this is the main thread, else hand it over to run there soon, in the order of handing over."""
    if threading.current_thread() is threading.main_thread():
        work()
        return

    def call(_: int | None) -> int:
        work()
        _waiting.remove(kept)
        return 0

    kept = _Call(call)
    # C holds no reference to the callback.
    _waiting.append(kept)
    ctypes.pythonapi.Py_AddPendingCall(kept, None)
