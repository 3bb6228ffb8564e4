"""Who works on an attempt: the provenance record, and whether that process still lives. Standard library and psutil."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from lsr.core.software import commit, versions

_START_TOLERANCE = 2.0
"""Seconds. A process's start time is computed from the boot time, which moves a little when the clock is set."""


def owner_record() -> dict[str, Any]:
    """This process as plain JSON data: host, pid, pid_space, process_started (seconds since the epoch), git (commit of
    a source checkout, `-dirty` if changed; else None) and versions. No environment variables, no command line.
    """
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_space": _pid_space(),
        "process_started": psutil.Process().create_time(),
        "git": commit(),
        "versions": versions(),
    }


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether the owner's process has certainly ended. False where this cannot be seen: another host, another
    container, an owner without a pid.
    """
    pid, started = owner.get("pid"), owner.get("process_started")
    if owner.get("pid_space") != _pid_space() or not isinstance(pid, int) or not isinstance(started, int | float):
        return False
    return _has_ended(pid, started)


def process_token() -> str:
    """This process as a part of a file name, `<pid>.<start in ms>.<pid space>`, which `token_ended` reads."""
    return _token(os.getpid())


def token_ended(token: str) -> bool | None:
    """Whether the process that `process_token` named has ended; None for one that cannot be seen from here, and for a
    text that is no token.
    """
    pid, _, rest = token.partition(".")
    started, _, space = rest.partition(".")
    if space != _space_digest() or not (pid.isdecimal() and started.isdecimal()):
        return None
    return _has_ended(int(pid), int(started) / 1000)


@functools.lru_cache(maxsize=1)
def _token(pid: int) -> str:
    # By pid, because a fork inherits the cache.
    return f"{pid}.{psutil.Process(pid).create_time() * 1000:.0f}.{_space_digest()}"


def _space_digest() -> str:
    return hashlib.sha256(_pid_space().encode()).hexdigest()[:12]


def _has_ended(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(float(process.create_time()) - started) > _START_TOLERANCE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _pid_space() -> str:
    """Where process numbers mean the same processes: host names are shared by containers and change with DHCP."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}:{int(psutil.boot_time())}"
