"""What every store promises. Standard library and lsr.core only.

A store maps keys to immutable byte strings; the only change of an existing key is a whole new value. Nothing
half-written is ever visible under a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lsr.core.errors import InputError

RESERVED = ".lsr-store"
"""First part of a key that no object may have: there `file://` stores keep locks and unfinished writes."""

MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 255


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. size: bytes. etag: opaque; differs whenever the content differs, so that `replace` can compare it.
    modified: when it was last written or touched by the store's clock, in seconds since the epoch.
    """

    key: str
    size: int
    etag: str
    modified: float


class Store(Protocol):
    """Objects by key. Keys are relative, `/`-separated, and no key is a folder of another.

    Every method raises StoreError when the store cannot be reached, rejects the credentials or cannot be written,
    and InputError for a key that breaks the rules of `check_key`.
    """

    @property
    def uri(self) -> str:
        """Where the store is, as `open_store` takes it; holds no secrets."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes `object[start : start + length]`, to the end for None: like a slice, shorter where the object ends.

        Raises NotFoundError naming store and key.
        """

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag without the bytes; None if there is no such object."""

    def write(self, key: str, data: bytes) -> str:
        """Put `data` under `key`, whatever is there. Returns the new etag."""

    def write_file(self, key: str, path: Path) -> None:
        """Put the file's bytes under `key`, whatever is there; in parts where it is large."""

    def download(self, key: str, path: Path) -> str:
        """Copy the object to a local file, which appears complete or not at all; the sha256 of what was received.

        The file may be lost or torn when the machine loses power. Raises NotFoundError.
        """

    def create(self, key: str, data: bytes) -> bool:
        """Put `data` under `key` only if nothing is there: of any number of makers exactly one succeeds.

        True: created. False: something is there, possibly this call's own bytes if the reply to a first try was
        lost; who cares compares the bytes.
        """

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Compare-and-swap: put `data` only if the object still has `etag`. Returns the new etag.

        Raises ConflictError when it changed, was deleted, or when the reply to a first, successful try was lost.
        """

    def touch(self, key: str) -> None:
        """Set the time of the object's last change to now, its bytes untouched; an absent one is fine."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix` (any string, "" for all), in the order of the keys' code points."""

    def delete(self, key: str) -> None:
        """Remove the object; an absent one is fine."""

    def delete_old(self, key: str, before: float) -> bool:
        """Remove the object if it was last changed before that time (seconds since the epoch). True: removed.

        A folder decides and deletes as one step; S3 has no such request, so a change within the same few
        milliseconds can be lost there.
        """

    def leftovers(self, before: float) -> Iterator[ObjectInfo]:
        """Unfinished writes that were begun before that time and that no living process is known to finish: files
        of a folder's own, multipart uploads of S3. `discard` takes them.
        """

    def discard(self, found: ObjectInfo) -> None:
        """Remove one of `leftovers`; one that has gone is fine."""


def check_key(key: str) -> str:
    """`key` itself. Raises InputError unless it is a relative path that every store can hold and no store escapes."""
    parts = key.split("/")
    encodable = key.isprintable() or not any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in key)
    if not encodable:
        raise InputError(f"A store key must be text without control characters, found {key!r}; rename the object.")
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(f"A store key must be a relative path without empty, '.' or '..' parts, found {key!r}.")
    if parts[0] == RESERVED:
        raise InputError(
            f"Store keys below {RESERVED}/ belong to the store itself, found {key!r}; choose another name."
        )
    if len(key.encode()) > MAX_KEY_BYTES or max(len(part.encode()) for part in parts) > MAX_PART_BYTES:
        raise InputError(
            f"A store key has at most {MAX_KEY_BYTES} bytes, {MAX_PART_BYTES} a part, found {len(key.encode())} bytes "
            f"in {key[:80]!r}...; choose a shorter name."
        )
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` itself. Raises InputError if its folders could not begin a key."""
    folder = prefix.rpartition("/")[0]
    if folder:
        check_key(folder)
    elif prefix.startswith("/"):
        raise InputError(f"A prefix of store keys must be relative, found {prefix!r}.")
    return prefix


def changed(where: str) -> str:
    """What a lost compare-and-swap says."""
    return f"{where} was changed or deleted by another writer since it was read; read it again and decide anew."


def check_range(start: int, length: int | None) -> None:
    """Raises InputError for a negative start or length."""
    if start < 0 or (length is not None and length < 0):
        raise InputError(f"A range read needs start >= 0 and length >= 0, found start {start} and length {length}.")
