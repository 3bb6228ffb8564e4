"""Results of single shards, remembered in the store: a killed stage run again does only the rest.

`parts/<key>.json` is to one shard what `actions/<key>.json` is to a stage: created once, after its blobs. It may be
deleted at any time, which costs time only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from lsr.core.canonical import action_key, canonical_json
from lsr.core.errors import NotFoundError
from lsr.store import Store


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
    path = f"parts/{action_key(stage, version, inputs, config)}.json"
    known = _read(store, path)
    if known is not None and _present(store, known):
        return known
    made = make()
    if not lasting():
        return made
    data = canonical_json(made)
    if known is None and store.create(path, data):
        return made
    first = _read(store, path)
    if first is None or not _present(store, first):
        store.write(path, data)
        return made
    return first


def _read(store: Store, path: str) -> dict[str, Any] | None:
    try:
        plain = json.loads(store.read(path))
    except (NotFoundError, ValueError):
        return None
    return plain if isinstance(plain, dict) else None


def _present(store: Store, result: Mapping[str, Any]) -> bool:
    for row in result.get("shards", []):
        tar, index = store.head(row["path"]), store.head(row["index"])
        if tar is None or index is None or tar.size != row["bytes"]:
            return False
    return True
