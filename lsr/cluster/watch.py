"""What to say when the process dies on which all of a local Ray depends."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from lsr.core.background import beside
from lsr.core.errors import RunFailedError
from lsr.core.processes import ProcessMark, end, ended

POLL_SECONDS = 2.0
_CENTRE = "gcs_server"


@contextmanager
def watched(processes: Sequence[ProcessMark], temp: Path, leave: Callable[[int], object] = os._exit) -> Iterator[None]:
    """While the block runs, end this process with a sentence soon after Ray's control process (GCS) has died.

    Ray's own library ends the process a minute later without a word, and what waits for Ray until then can be neither
    interrupted nor answered. processes: what the local Ray consists of; they end too, and `temp`, their folder, goes.
    leave: ends the process with an exit code.
    """
    centre = [each for each in processes if _name(each) == _CENTRE]

    def watch(stop: threading.Event) -> None:
        while not stop.wait(POLL_SECONDS):
            gone = next((each for each in centre if ended(each)), None)
            if gone is None or stop.is_set():
                continue
            print(
                f"error: Ray's control process ({_CENTRE}, pid {gone.pid}) has died, so that the work of this command "
                "cannot continue. Check whether memory ran out, then run the same command again: finished stages are "
                "reused and a training resumes from its last checkpoint.",
                file=sys.stderr,
                flush=True,
            )
            end(processes, grace=2.0)
            shutil.rmtree(temp, ignore_errors=True)
            leave(RunFailedError.exit_code)
            return

    with beside(watch, "watch-ray"):
        yield


def _name(marked: ProcessMark) -> str:
    try:
        return str(psutil.Process(marked.pid).name())
    except psutil.Error:
        return ""
