"""Naming processes so that a later process can end exactly these and nobody else's.

A pid alone is reused by the system; a pid with its start time is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

# Start times are computed from the boot time, which a clock correction moves by up to a second between two readings.
_START_TOLERANCE = 2.0


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """One process of this machine. started: seconds since the epoch."""

    pid: int
    started: float


def mark(pid: int | None = None) -> ProcessMark | None:
    """The mark of a living process (default: this one); None if there is none with this pid."""
    try:
        process = psutil.Process(os.getpid() if pid is None else pid)
        return ProcessMark(process.pid, process.create_time())
    except psutil.Error:
        return None


def alive(marked: ProcessMark) -> bool:
    """Whether exactly this process still runs; one that ended and was not yet collected by its parent does not."""
    return _find(marked) is not None


def descendants(marked: ProcessMark) -> list[ProcessMark]:
    """Every process below `marked` now, not including it."""
    process = _find(marked)
    if process is None:
        return []
    try:
        children = process.children(recursive=True)
    except psutil.Error:
        return []
    return [found for child in children if (found := mark(child.pid)) is not None]


def end(marks: Iterable[ProcessMark], *, grace: float = 10.0) -> list[ProcessMark]:
    """End the marked processes and all below them: SIGTERM, then SIGKILL after `grace` seconds.

    Returns those that still live afterwards (a process stuck in the kernel, or of another user).
    """
    wanted: dict[int, ProcessMark] = {}
    for top in marks:
        for each in (top, *descendants(top)):
            wanted.setdefault(each.pid, each)
    targets = [process for each in wanted.values() if (process := _find(each)) is not None]
    for process in targets:
        _signal(process, psutil.Process.terminate)
    _, stubborn = psutil.wait_procs(targets, timeout=grace)
    for process in stubborn:
        _signal(process, psutil.Process.kill)
    psutil.wait_procs(stubborn, timeout=5.0)
    return [each for each in wanted.values() if alive(each)]


def _find(marked: ProcessMark) -> psutil.Process | None:
    try:
        process = psutil.Process(marked.pid)
        same = abs(process.create_time() - marked.started) <= _START_TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _signal(process: psutil.Process, send: object) -> None:
    try:
        send(process)  # type: ignore[operator]
    except psutil.Error:
        return
