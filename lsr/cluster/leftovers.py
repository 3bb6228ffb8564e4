"""What a local Ray leaves when its owner is killed: written down at the start, ended and removed by the next start."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from lsr.core.files import write_whole
from lsr.core.processes import ProcessMark, end, ended, mark, mark_of

# Only folders of this name are removed, whatever a record says.
TEMP_PREFIX = "lsr-ray-"


def record_path(home: Path) -> Path:
    """Where this process records its Ray."""
    return home / "ray" / f"{os.getpid()}.json"


def write_record(path: Path, temp: Path, processes: list[ProcessMark]) -> None:
    """Record that this process owns the folder `temp` and started `processes`."""
    owner = mark()
    assert owner is not None
    plain: dict[str, Any] = {
        "owner": asdict(owner),
        "temp": str(temp),
        "processes": [asdict(each) for each in processes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(plain))


def children_naming(temp: Path) -> list[ProcessMark]:
    """This process's children that were started with `temp` in their command line: Ray's own, nobody else's."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any(str(temp) in word for word in child.cmdline()) and (marked := mark(child.pid)) is not None:
                found.append(marked)
    return found


def reap(home: Path) -> int:
    """End the Ray processes and remove the temporary folders of sessions whose owner is gone; returns how many."""
    count = 0
    for path in sorted((home / "ray").glob("*.json")):
        try:
            record = json.loads(path.read_text())
            owner, marks = mark_of(record["owner"]), [mark_of(each) for each in record["processes"]]
            temp = Path(record["temp"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if owner is None or not ended(owner):
            continue
        end([each for each in marks if each is not None])
        if temp.name.startswith(TEMP_PREFIX):
            shutil.rmtree(temp, ignore_errors=True)
        path.unlink(missing_ok=True)
        count += 1
    return count
