"""What a takedown leaves: a record of digests, without pixels and names, so that lineage outlives the photo.

`takedowns/<digest>.json` is written before anything is deleted: a second request, also one after a kill, still knows
which results and model versions were made with the photo, and which runs have images of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from lsr.core.canonical import sha256_hex
from lsr.store import Store
from lsr.store.content import create_once
from lsr.store.records import parse_record, seal

TAKEDOWNS = "takedowns/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Takedown:
    """One request. photos: keys of the photos, which are digests of their pixels. names: sha256 of each name that they
    had. digests: of all results that were made with them, by then. removed: of those that were to be deleted. actions:
    keys of the runs with images of them. versions: model versions made with them. at: when, UTC.
    """

    photos: list[str]
    names: list[str]
    digests: list[str]
    removed: list[str]
    actions: list[str]
    versions: list[str]
    at: str


def write_takedown(store: Store, **found: Any) -> str:
    """Keep a Takedown of now with these fields; its key."""
    takedown = Takedown(**found, at=datetime.now(UTC).isoformat(timespec="seconds"))
    data = seal(asdict(takedown))
    key = f"{TAKEDOWNS}{sha256_hex(data)}.json"
    create_once(store, key, data)
    return key


def takedowns_of(store: Store, names: Sequence[str], photos: Sequence[str]) -> list[Takedown]:
    """Earlier takedowns of one of these names or photos. Raises IntegrityError for a changed record."""
    hashed, found = {name_digest(name) for name in names}, []
    for info in store.list(TAKEDOWNS):
        record = parse_record(store.read(info.key), f"{store.uri}/{info.key}")
        takedown = Takedown(**{field.name: record[field.name] for field in fields(Takedown)})
        if hashed & set(takedown.names) or {*names, *photos} & set(takedown.photos):
            found.append(takedown)
    return found


def name_digest(name: str) -> str:
    """What stands for the name of a file."""
    return sha256_hex(name.encode())
