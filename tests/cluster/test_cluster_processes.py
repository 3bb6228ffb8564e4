"""A process is named by pid and start time, and only a process so named is ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from lsr.core.processes import alive, descendants, end, ended, mark, mark_of, process_token, token_ended
from lsr.store.owner import is_gone, owner_record

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
    earlier = replace(marked, started=marked.started - 1)
    assert not alive(earlier)
    assert ended(earlier)
    assert end([earlier], grace=0.1) == []
    assert sleeper.poll() is None, "a process with another start time must not be touched"


def test_a_step_of_the_clock_ends_nobody(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The start in seconds since the epoch moves with the clock, by which a living owner would count as gone."""
    marked, owner, token = mark(sleeper.pid), owner_record(), process_token()
    assert marked is not None
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 3)
    monkeypatch.setattr(psutil, "boot_time", lambda: 3.0)
    assert alive(marked)
    assert mark(sleeper.pid) == marked
    assert not is_gone(owner)
    assert token_ended(token) is False


def test_what_cannot_be_seen_is_neither_alive_nor_ended(sleeper: subprocess.Popen[bytes]) -> None:
    marked = mark(sleeper.pid)
    assert marked is not None
    elsewhere = replace(marked, space="another boot:1")
    assert not alive(elsewhere)
    assert not ended(elsewhere)
    assert end([elsewhere], grace=0.1) == []
    assert sleeper.poll() is None
    assert mark_of({"pid": marked.pid, "started": 1764302400.25}) is None, "a record of seconds since the epoch"
    assert mark_of(asdict(marked) | {"host": "h"}) == marked


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
