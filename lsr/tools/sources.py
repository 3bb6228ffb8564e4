"""What snapshots of raw sources say of a file: where it came from, and what of that is below the profile's folders."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote

from data_prep.sources import Snapshot
from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.core.settings import Settings
from lsr.store import Store

NAMED = "set:"


def in_sources(store: Store, settings: Settings, names: Collection[str]) -> tuple[list[Path], list[str]]:
    """Files of fetched sets in the cache that are called so, and one sentence for each source and snapshot that still
    has the names.
    """
    files, remains = list[Path](), list[str]()
    for info in store.list("snapshots/"):
        try:
            listed = Snapshot.load(store, info.key)
        except (IntegrityError, NotFoundError, VersionMismatchError) as error:
            remains.append(f"{info.key} could not be searched: {error}")
            continue
        found = [item for item in listed.items if item.key in names]
        if not found:
            continue
        remains.append(f"{info.key} names {found[0].key}, without pixels; delete it if the name must go, too.")
        if listed.uri.startswith(NAMED):
            folder = settings.cache / "sets" / listed.uri.removeprefix(NAMED)
            files += [path for item in found if (path := folder / unquote(item.path)).is_file()]
        remains.append(f"The source {listed.uri} may still hold {found[0].key}; remove it there before the next set.")
    return sorted(set(files)), sorted(set(remains))
