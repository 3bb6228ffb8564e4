"""Fresh processes and what they cost: wall seconds, and CPU seconds, which a busy machine changes far less."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """One process that ended well. wall: seconds until it ended. cpu: seconds of it and the children it waited for."""

    wall: float
    cpu: float
    output: str


def run_fresh(command: Sequence[str], environment: Mapping[str, str] | None = None, limit: float = 300.0) -> Spent:
    """Run `command` and wait. limit: seconds. Raises CalledProcessError or TimeoutExpired of subprocess."""
    before, started = _children(), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=limit)
    return Spent(wall=time.perf_counter() - started, cpu=_children() - before, output=done.stdout)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
