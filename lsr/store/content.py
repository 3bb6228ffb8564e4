"""Content addressing: blobs named by their own bytes, and objects that are written once."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lsr.core.canonical import sha256_hex
from lsr.core.errors import ConflictError, InputError, IntegrityError
from lsr.core.files import file_sha256
from lsr.store.base import ObjectInfo, Store

LIST_FROM = 1000
"""From so many blobs on, pages of a listing are fewer requests than one HEAD each."""

FRESH_SECONDS = 1800.0
"""Age up to which an object counts as just written; a collector of garbage must spare objects of twice this age."""

_THREADS = 16
BLOB = re.compile(r"blobs/([0-9a-f]{64})\.[a-z0-9][a-z0-9.]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """Bytes named by themselves. path: `blobs/<sha256>.<suffix>`. bytes: size."""

    path: str
    sha256: str
    bytes: int


def put_blob(store: Store, data: bytes | Path, suffix: str) -> Blob:
    """Store `data` (bytes, or a file that is streamed) under its own digest.

    Uploads nothing if a blob of that name and size is there, which is made young again instead: whoever collects
    garbage must not take it before a record names it. suffix: `tar`, `parquet`, `safetensors`, ...
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
    else:
        freshen(store, found)
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
    with ThreadPoolExecutor(min(_THREADS, len(paths))) as pool:
        heads = list(pool.map(store.head, paths))
    return {path: None if head is None else head.size for path, head in zip(paths, heads)}


def freshen(store: Store, found: ObjectInfo) -> None:
    """Let an object that is about to be named again count as new, unless it does: see `lsr.tools.gc`."""
    if time.time() - found.modified > FRESH_SECONDS:
        store.touch(found.key)


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


def blob_named(path: str, size: int, where: str) -> Blob:
    """The blob of that path and size. Raises IntegrityError, naming `where`, for what is no blob's path."""
    match = BLOB.fullmatch(path)
    if match is None:
        raise IntegrityError(f"{where} must be blobs/<64 hex digits>.<suffix>, found {path!r}; make the result again.")
    return Blob(path=path, sha256=match[1], bytes=size)


def _digest_in(path: str, store: Store) -> str:
    match = BLOB.fullmatch(path)
    if match is None:
        raise InputError(f"A blob's path is blobs/<64 hex digits>.<suffix>, found {path!r} for the store {store.uri}.")
    return match[1]
