"""What a killed flow process leaves running (Prefect's ephemeral server): written down, ended at the next start.

By process mark, never by name: another user's server on this machine may be called the same.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from lsr.core.background import beside
from lsr.core.files import write_whole
from lsr.core.processes import descendants, end, ended, mark, mark_of

FOLDER = "processes"
POLL_SECONDS = 2.0


def _write(path: Path) -> None:
    me = mark()
    if me is None:
        return
    record = {"owner": asdict(me), "children": [asdict(child) for child in descendants(me)]}
    write_whole(path, json.dumps(record))


@contextmanager
def record_children(home: Path) -> Iterator[None]:
    """While the block runs, keep `home/processes/<pid>.json` listing this process and all its descendants."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}.json"

    def poll(stop: threading.Event) -> None:
        while not stop.wait(POLL_SECONDS):
            _write(path)

    _write(path)
    try:
        with beside(poll, "record-children"):
            yield
    finally:
        path.unlink(missing_ok=True)


def reap(home: Path) -> int:
    """End what owners that are gone left running below `home`; returns how many owners had left something."""
    found = 0
    for path in sorted((home / FOLDER).glob("*.json")):
        try:
            record = json.loads(path.read_text())
            owner, children = mark_of(record["owner"]), [mark_of(child) for child in record["children"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if owner is None or not ended(owner):
            continue
        end([child for child in children if child is not None])
        path.unlink(missing_ok=True)
        found += 1
    return found
