"""Leftovers of a killed process: who started what is written down, and ended by pid and start time at the next start.

Never by name: another user's server on this machine may be called the same.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

FOLDER = "processes"
GRACE_SECONDS = 10.0
LOOK_SECONDS = 2.0


def _identity(process: psutil.Process) -> list[float]:
    return [process.pid, process.create_time()]


def _alive(pid: float, started: float) -> psutil.Process | None:
    with suppress(psutil.Error):
        process = psutil.Process(int(pid))
        if abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _write(path: Path) -> None:
    me = psutil.Process()
    with suppress(psutil.Error):
        children = [_identity(child) for child in me.children(recursive=True)]
        text = json.dumps({"owner": _identity(me), "children": children})
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(path)


@contextmanager
def record_children(home: Path) -> Iterator[None]:
    """While the block runs, keep `home/processes/<pid>.json` listing this process and all its descendants."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}.json"
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_SECONDS):
            _write(path)

    _write(path)
    thread = threading.Thread(target=look, name="record-children", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        path.unlink(missing_ok=True)


def reap(home: Path) -> int:
    """End what owners that are gone left running below `home`; returns how many processes were ended."""
    ended = 0
    for path in sorted((home / FOLDER).glob("*.json")):
        try:
            record = json.loads(path.read_text())
            owner, children = record["owner"], record["children"]
        except (OSError, ValueError, KeyError):
            continue
        if _alive(*owner) is not None:
            continue
        left = [process for child in children if (process := _alive(*child)) is not None]
        for process in left:
            with suppress(psutil.Error):
                process.terminate()
        _, stubborn = psutil.wait_procs(left, timeout=GRACE_SECONDS)
        for process in stubborn:
            with suppress(psutil.Error):
                process.kill()
        ended += len(left)
        path.unlink(missing_ok=True)
    return ended
