"""Who works on an attempt: the provenance record, and whether that process still lives."""

from __future__ import annotations

import platform
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import lsr
from lsr.core.processes import ended, mark, mark_of

_PACKAGES = ("torch", "numpy", "pillow", "ray", "mlflow", "prefect", "webdataset", "safetensors")


def owner_record() -> dict[str, Any]:
    """This process as plain JSON data: host, its mark (pid, started, space), git (commit of a source checkout, `-dirty`
    if changed; else None) and versions. No environment variables, no command line.
    """
    me = mark()
    assert me is not None
    return {"host": socket.gethostname(), **asdict(me), "git": _git_commit(), "versions": _versions()}


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether the owner's process has certainly ended. False where this cannot be seen: another host, another
    container, a record without a mark.
    """
    marked = mark_of(owner)
    return marked is not None and ended(marked)


def _git_commit() -> str | None:
    root = Path(lsr.__file__).parents[1]
    # Installed as a wheel inside somebody's repository, git would name that one's commit.
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _versions() -> dict[str, str]:
    found = {"lsr": lsr.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
