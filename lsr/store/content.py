"""Content addressing and the commit point: blobs, then the manifest, then the action record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import ConflictError, InputError, IntegrityError, NotFoundError
from lsr.core.files import file_sha256
from lsr.core.refs import Ref
from lsr.store.base import Store
from lsr.store.records import FORMAT, parse_record

LIST_FROM = 1000
"""From so many blobs on, pages of a listing are fewer requests than one HEAD each."""

_LOOKERS = 16
_BLOB = re.compile(r"blobs/([0-9a-f]{64})\.[a-z0-9][a-z0-9.]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """Bytes named by themselves. path: `blobs/<sha256>.<suffix>`. bytes: size."""

    path: str
    sha256: str
    bytes: int


def put_blob(store: Store, data: bytes | Path, suffix: str) -> Blob:
    """Store `data` (bytes, or a file that is streamed) under its own digest.

    Uploads nothing if a blob of that name and size is there. suffix: `tar`, `parquet`, `safetensors`, ...
    """
    if isinstance(data, Path):
        digest, size = file_sha256(data), data.stat().st_size
    else:
        digest, size = sha256_hex(data), len(data)
    path = f"blobs/{digest}.{suffix}"
    _digest_in(path, store)
    found = store.head(path)
    if found is None or found.size != size:
        if isinstance(data, Path):
            store.write_file(path, data)
        else:
            store.write(path, data)
    return Blob(path=path, sha256=digest, bytes=size)


def get_blob(store: Store, path: str) -> bytes:
    """The blob's bytes. Raises IntegrityError naming store and path when they do not have the digest in the name."""
    expected = _digest_in(path, store)
    data = store.read(path)
    found = sha256_hex(data)
    if found != expected:
        raise IntegrityError(
            f"{store.uri}/{path} must have the sha256 in its name, found {found} ({len(data)} bytes); "
            "delete the object and run the stage that made it again."
        )
    return data


def sizes_of(store: Store, paths: Sequence[str]) -> dict[str, int | None]:
    """Size in bytes of each blob, None for an absent one, without reading it: by HEAD, or by one listing for many."""
    if len(paths) >= LIST_FROM:
        listed = {info.key: info.size for info in store.list("blobs/")}
        return {path: listed.get(path) for path in paths}
    if not paths:
        return {}
    with ThreadPoolExecutor(min(_LOOKERS, len(paths))) as pool:
        heads = list(pool.map(store.head, paths))
    return {path: None if head is None else head.size for path, head in zip(paths, heads)}


def create_once(store: Store, key: str, data: bytes) -> bool:
    """Create an object that must never change. True: written. False: the same bytes are there already.

    Raises ConflictError when other bytes are there. Safe to retry: a lost reply meets its own bytes.
    """
    if store.create(key, data):
        return True
    found = store.read(key)
    if found != data:
        raise ConflictError(
            f"{store.uri}/{key} is written once and exists with other content (sha256 {sha256_hex(found)[:12]}, "
            f"this one {sha256_hex(data)[:12]}); delete it only if you know that nothing refers to it."
        )
    return False


def commit(store: Store, *, kind: str, key: str, directory: str, manifest: bytes) -> Ref:
    """Make a result visible: the manifest, then the record of action `key`. Every blob must be stored before.

    directory: where the manifest goes, under its digest. Returns the Ref that the store records for the action, which
    is the first maker's if another one was faster.
    """
    digest = sha256_hex(manifest)
    path = f"{directory}/{digest}.json"
    create_once(store, path, manifest)
    record = {"digest": digest, "format": FORMAT, "key": key, "kind": kind, "path": path}
    if store.create(_action(key), canonical_json(record)):
        return Ref(kind=kind, key=key, digest=digest, path=path)
    first = lookup(store, key)
    if first is None:
        raise ConflictError(f"{store.uri}/{_action(key)} was deleted while this result was committed; run it again.")
    if first.kind != kind:
        raise IntegrityError(
            f"{store.uri}/{_action(key)} records a result of kind {first.kind!r}, this one is {kind!r}; "
            "an action key must belong to one stage only."
        )
    return first


def lookup(store: Store, key: str) -> Ref | None:
    """The recorded result of action `key`, None if there is none yet.

    Raises IntegrityError or VersionMismatchError for a record that this code cannot trust.
    """
    where = f"{store.uri}/{_action(key)}"
    try:
        record = parse_record(store.read(_action(key)), where)
    except NotFoundError:
        return None
    fields = {name: record.get(name) for name in ("kind", "key", "digest", "path")}
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if texts != fields or texts["key"] != key:
        raise IntegrityError(f"{where} must name kind, key, digest and path of this action, found {fields}; delete it.")
    return Ref(**texts)


def forget(store: Store, key: str) -> None:
    """Remove the record of action `key`, whose result is lost, so that it can be made and recorded again."""
    store.delete(_action(key))


def _action(key: str) -> str:
    return f"actions/{key}.json"


def _digest_in(path: str, store: Store) -> str:
    match = _BLOB.fullmatch(path)
    if match is None:
        raise InputError(f"A blob's path is blobs/<64 hex digits>.<suffix>, found {path!r} for the store {store.uri}.")
    return match[1]
