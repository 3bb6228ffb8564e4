"""A process is named by pid and start time, and only a process so named is ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsr.core.processes import ProcessMark, alive, descendants, end, mark

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(99)"
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "99"])
    yield process
    process.kill()
    process.wait()


def test_a_mark_names_a_living_process(sleeper: subprocess.Popen[bytes]) -> None:
    marked = mark(sleeper.pid)
    assert marked is not None
    assert alive(marked)
    sleeper.kill()
    # Not collected yet: a zombie does no work and counts as ended.
    while alive(marked):
        time.sleep(0.01)
    sleeper.wait()
    assert mark(sleeper.pid) is None


def test_a_reused_pid_is_somebody_else(sleeper: subprocess.Popen[bytes]) -> None:
    marked = mark(sleeper.pid)
    assert marked is not None
    earlier = ProcessMark(marked.pid, marked.started - 60)
    assert not alive(earlier)
    assert end([earlier], grace=0.1) == []
    assert sleeper.poll() is None, "a process with another start time must not be touched"


def test_end_takes_the_tree_and_insists(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    top = mark(parent.pid)
    assert top is not None
    below = descendants(top)
    assert len(below) == 1
    assert end([top], grace=0.3) == []
    assert not alive(below[0])
    parent.wait()
    parent.stdout.close()
