"""Naming processes so that a later one knows whether exactly these still run, and can end them and nobody else's.

A pid alone is reused by the system. A pid with its start time in ticks since the boot, the boot's id and the pid
namespace is not, and no step of the clock moves it. Where this cannot be told (another machine, another container, a
record of another form) a process counts neither as alive nor as ended: it is not touched, and nothing is taken from it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_PROC = Path("/proc/self/stat").exists()
# Without /proc the start time is computed from the boot time, which a clock correction moves.
_TOLERANCE = 0 if _PROC else 200


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """One process. started: ticks (1/100 s) since the boot. space: where pids mean the same processes, the id of the
    boot and of the pid namespace.
    """

    pid: int
    started: int
    space: str


def mark(pid: int | None = None) -> ProcessMark | None:
    """The mark of a living process (default: this one); None if there is none with this pid."""
    number = os.getpid() if pid is None else pid
    seen = _inspect(number)
    return None if seen is None else ProcessMark(number, seen[0], pid_space())


def mark_of(plain: object) -> ProcessMark | None:
    """The mark in a record (a mapping that may hold more); None for one of another form."""
    if not isinstance(plain, Mapping):
        return None
    pid, started, space = (plain.get(name) for name in ("pid", "started", "space"))
    if type(pid) is int and type(started) is int and isinstance(space, str):
        return ProcessMark(pid, started, space)
    return None


def alive(marked: ProcessMark) -> bool:
    """Whether exactly this process is seen running; one that ended and was not yet collected by its parent is not."""
    return _runs(marked) is True


def ended(marked: ProcessMark) -> bool:
    """Whether exactly this process has certainly ended. False where this cannot be seen."""
    return _runs(marked) is False


def process_token() -> str:
    """This process as a part of a file name or a tag, `<pid>.<start>.<space>`, which `token_ended` reads."""
    return _token(os.getpid())


def token_ended(text: str) -> bool | None:
    """Whether the process that `process_token` named has ended; None for one that cannot be seen from here, and for a
    text that is no token.
    """
    pid, _, rest = text.partition(".")
    started, _, space = rest.partition(".")
    if space != _space_digest() or not (pid.isdecimal() and started.isdecimal()):
        return None
    runs = _runs(ProcessMark(int(pid), int(started), pid_space()))
    return None if runs is None else not runs


def descendants(marked: ProcessMark) -> list[ProcessMark]:
    """Every process below `marked` now, not including it."""
    if not alive(marked):
        return []
    try:
        children = psutil.Process(marked.pid).children(recursive=True)
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


@functools.cache
def pid_space() -> str:
    """Where process numbers mean the same processes: host names are shared by containers and change with DHCP."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _runs(marked: ProcessMark) -> bool | None:
    """Whether exactly this process runs; None where it cannot be seen from here."""
    if marked.space != pid_space():
        return None
    seen = _inspect(marked.pid)
    if seen is None:
        return None if _hidden(marked.pid) else False
    started, over = seen
    return not over and abs(started - marked.started) <= _TOLERANCE


def _inspect(pid: int) -> tuple[int, bool] | None:
    """(start, whether it only waits to be collected) of the process that has this pid now; None if none is seen."""
    if not _PROC:
        return _ask_psutil(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold anything; fields 3 and 22 are wanted.
    fields = text.rpartition(")")[2].split()
    return int(fields[19]), fields[0] in "ZX"


def _ask_psutil(pid: int) -> tuple[int, bool] | None:
    try:
        process = psutil.Process(pid)
        return round(process.create_time() * 100), process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None


def _hidden(pid: int) -> bool:
    """Whether a process has this pid although its facts are kept from this user."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    # It appeared between the two checks, or /proc is hidden.
    return True


@functools.lru_cache(maxsize=1)
def _token(pid: int) -> str:
    # By pid, because a fork inherits the cache.
    seen = _inspect(pid)
    assert seen is not None
    return f"{pid}.{seen[0]}.{_space_digest()}"


def _space_digest() -> str:
    # The word keeps tokens apart that state the start in another unit.
    return hashlib.sha256(f"ticks:{pid_space()}".encode()).hexdigest()[:12]


def _find(marked: ProcessMark) -> psutil.Process | None:
    try:
        process = psutil.Process(marked.pid)
    except psutil.Error:
        return None
    # In this order: psutil's object is then of this process, and sends no signal to a later one.
    return process if alive(marked) else None


def _signal(process: psutil.Process, send: Any) -> None:
    try:
        send(process)
    except psutil.Error:
        return
