"""SIGTERM while this process waits for Ray."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_heard() -> Iterator[Callable[[], bool]]:
    """While the block waits for Ray, SIGTERM ends it as SystemExit; then the caller's own handler has its say, as if
    the signal came now. Yields whether it came.

    Ray's waits run signal handlers and drop whatever they raise but KeyboardInterrupt and SystemExit. Prefect's handler
    raises neither, so that without this a flow that is told to end would wait on.
    """
    callers = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or callers is signal.SIG_IGN:
        yield lambda: False
        return
    came = False

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield lambda: came
    except SystemExit:
        signal.signal(signal.SIGTERM, callers)
        if came and callable(callers):
            callers(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, callers)
