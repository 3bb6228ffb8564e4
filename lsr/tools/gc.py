"""`lsr gc`: delete what nothing of the store and the registry reaches any more.

What a living run reaches, or has written since it began, stays: its lease lowers the age from which objects are old.
Every deletion checks the object's age once more, so that what was named again in the meantime stays, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from data_prep.parts import PARTS
from lsr.core.errors import ConfigError
from lsr.core.settings import Settings
from lsr.data.cache import shards_in
from lsr.stages.gate import VERDICT
from lsr.stages.register import REFS
from lsr.store import ObjectInfo, Store, open_store
from lsr.store.attempts import RunningElsewhere, claim, owner_record
from lsr.store.content import FRESH_SECONDS
from lsr.store.files import sweep
from lsr.store.pointers import write_pointer
from lsr.store.roots import ROOTS
from lsr.tools.reach import BLOBS, RUNS, VERDICTS, Map, living_leases, survey

DAY = 24 * 3600.0
GRACE = 7 * DAY
LEAST_GRACE = 2 * FRESH_SECONDS
"""An object counts as just named for FRESH_SECONDS after its last change: see `lsr.store.content.freshen`."""

LEASE_SECONDS = 60.0
ROUNDS = 10
UNFINISHED = "unfinished writes"


def collect(
    settings: Settings,
    *,
    delete: bool = False,
    grace: float = GRACE,
    checkpoints_older_than: float | None = None,
) -> dict[str, Any]:
    """What is unreached, by kind with objects and bytes, as plain data; deleted if `delete`.

    grace: seconds since its last change for which every object stays, at least LEAST_GRACE. checkpoints_older_than:
    seconds after which checkpoints of runs that nobody works on go, too; a later continuation starts anew.
    Raises ConfigError for a shorter grace, IntegrityError or VersionMismatchError for a record that cannot be read.
    """
    if grace < LEAST_GRACE or (checkpoints_older_than is not None and checkpoints_older_than < LEAST_GRACE):
        raise ConfigError(
            f"gc keeps what is younger than {LEAST_GRACE / 3600:g} hours at least, found {grace / 3600:g} hours; "
            "a run that starts now may be about to name it. Give a longer time."
        )
    store = open_store(settings.store)
    found = _stable_map(store, settings, grace, checkpoints_older_than)
    left = list(store.leftovers(found.before))
    gone = _delete(store, found, left) if delete else [*found.unreached.values()]
    if delete:
        sweep(shards_in(settings.cache))
    return {
        "store": store.uri,
        "deleted": delete,
        "kinds": _by_kind(gone, left),
        "kept": {"objects": found.kept[0], "bytes": found.kept[1]},
        "living_runs": len(found.living),
    }


def _stable_map(store: Store, settings: Settings, grace: float, retire: float | None) -> Map:
    """A map during whose making no run began."""
    for _ in range(ROUNDS):
        now = time.time()
        before = None if retire is None else now - retire
        found = survey(store, now=now, grace=grace, named=_registered(settings), retire_before=before)
        if living_leases(store, time.time()) <= found.living:
            return found
    return found


def _registered(settings: Settings) -> Iterator[str]:
    """Keys and digests that the tags of registered versions name; an alias or a champion is one of those."""
    from lsr.registry.versions import every_version

    for version in every_version(settings.mlflow):
        for ref in json.loads(version.tags.get(REFS, "{}")).values():
            yield from (ref["path"], ref["digest"])
        if VERDICT in version.tags:
            yield f"{VERDICTS}{version.tags[VERDICT]}.json"


def _delete(store: Store, found: Map, left: list[ObjectInfo]) -> list[ObjectInfo]:
    """Delete; what really went. Root records before the blobs that they name: a result must not be half there."""
    busy = set().union(*(files for pointer, files in found.retired.items() if not _retire(store, pointer)))
    doomed = [info for key, info in found.unreached.items() if key not in busy]
    gone = []
    for info in sorted(doomed, key=lambda info: (info.key.startswith(BLOBS), not info.key.startswith(ROOTS))):
        if store.delete_old(info.key, found.before):
            gone.append(info)
    for info in left:
        store.discard(info)
    return gone


def _retire(store: Store, pointer: str) -> bool:
    """Let a run's pointer name nothing, under the run's lease, so that nobody resumes from a checkpoint that goes.

    False where a process has begun to work on the run.
    """
    key = pointer.split("/")[1]
    try:
        lease = claim(store, key, "gc", owner=owner_record(), ttl=LEASE_SECONDS)
    except RunningElsewhere:
        return False
    try:
        write_pointer(store, pointer, None, lease.attempt.fencing)
    finally:
        lease.release("checkpoints deleted")
    return True


def _by_kind(gone: list[ObjectInfo], left: list[ObjectInfo]) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for name, info in [*((_kind(info.key), info) for info in gone), *((UNFINISHED, info) for info in left)]:
        entry = kinds.setdefault(name, {"objects": 0, "bytes": 0})
        entry["objects"] += 1
        entry["bytes"] += info.size
    return dict(sorted(kinds.items()))


def _kind(key: str) -> str:
    if key.startswith(ROOTS):
        return "root records"
    if key.startswith(BLOBS):
        return f"blobs ({key.rpartition('.')[2]})"
    if key.startswith(RUNS):
        return "checkpoints"
    return "remembered parts" if key.startswith(PARTS) else key.partition("/")[0]
