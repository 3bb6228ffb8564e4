"""Results of single shards, remembered in the store: a killed stage run again does only the rest.

`parts/<key>.json` is to one shard what `actions/<key>.json` is to a stage: created once, after its blobs. It may be
deleted at any time, which costs time only; one that is damaged or of another format is made again, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from lsr.core.canonical import action_key
from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.store import Store
from lsr.store.content import freshen
from lsr.store.records import parse_record, seal

PARTS = "parts/"
_LOG = logging.getLogger(__name__)


def once(
    store: Store,
    stage: str,
    version: int,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    make: Callable[[], dict[str, Any]],
    *,
    lasting: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """What `make()` returned for this request, now or in an earlier run whose blobs are all still there.

    `make` returns plain JSON data; the shard rows under its key `shards` name the blobs that must exist. Of two makers
    at the same time both take the first one's result. lasting: asked after `make`; what does not last is not
    remembered.
    """
    path = f"{PARTS}{action_key(stage, version, inputs, config)}.json"
    known = _read(store, path)
    if known is not None and _present(store, known):
        return known
    made = make()
    if not lasting():
        return made
    data = seal(made)
    if known is None and store.create(path, data):
        return made
    first = _read(store, path)
    if first is None or not _present(store, first):
        store.write(path, data)
        return made
    return first


def _read(store: Store, path: str) -> dict[str, Any] | None:
    try:
        plain = parse_record(store.read(path), f"{store.uri}/{path}")
    except NotFoundError:
        return None
    except (IntegrityError, VersionMismatchError) as error:
        _LOG.warning("A remembered part is made again: %s", error)
        return None
    del plain["format"]
    return plain


def _present(store: Store, result: Mapping[str, Any]) -> bool:
    """Whether the part's blobs are all there; they count as new from now on, because they will be named again."""
    for row in result.get("shards", []):
        for path, size in ((row["path"], row["bytes"]), (row["index"], row["index_bytes"])):
            found = store.head(path)
            if found is None or found.size != size:
                return False
            freshen(store, found)
    return True
