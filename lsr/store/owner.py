"""Who works on an attempt: the provenance record, and whether that process still lives."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lsr.core.processes import ended, mark, mark_of
from lsr.core.software import commit, versions


def owner_record() -> dict[str, Any]:
    """This process as plain JSON data: host, its mark (pid, started, space), git (commit of a source checkout, `-dirty`
    if changed; else None) and versions. No environment variables, no command line.
    """
    me = mark()
    assert me is not None
    return {"host": socket.gethostname(), **asdict(me), "git": commit(), "versions": versions()}


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether the owner's process has certainly ended. False where this cannot be seen: another host, another
    container, a record without a mark.
    """
    marked = mark_of(owner)
    return marked is not None and ended(marked)
