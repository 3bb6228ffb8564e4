"""One raw file: what pins it, and reading it.

Files lie below a root, a folder or an `s3://` prefix; a list of addresses may also name files anywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from data_prep.spool import code_of
from lsr.core.canonical import sha256_hex
from lsr.core.errors import InputError, NotFoundError
from lsr.store import Store, open_store

ABSENT = "absent"
"""Pin of a file that a list names and that is not there."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image file. key: its name for people, relative to the root. size: bytes. pin: what its content is known by,
    `etag:`, `mtime_ns:` or `sha256:`, or ABSENT. path: percent-encoded path of the file that holds it, below the root
    unless it begins with `/` or `s3://`. offset: where it begins in that file, None if it is the file. caption, label:
    what the source says of it.

    At a web address (`data_prep.fetched`) path is the address, size 0 and pin `fetch:` with the name of the fetch:
    nothing else is known before it is read.
    """

    key: str
    size: int
    pin: str
    path: str
    offset: int | None = None
    caption: str | None = None
    label: str | None = None

    def plain(self) -> dict[str, Any]:
        """Plain JSON data; `Item(**plain)` reads it back. What is not said is left out."""
        return plain_item(asdict(self))


def plain_item(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an item without those of `caption` and `label` that are None."""
    return {name: value for name, value in fields.items() if value is not None or name not in ("caption", "label")}


ITEM = code_of(Item)


def read_item(root: str, item: Item) -> bytes:
    """The file's bytes. Raises InputError when it cannot be read or is not what the snapshot pinned."""
    base, path = place_of(root, item.path)
    name = unquote_to_bytes(path)
    try:
        data, pin = (_read_s3 if base.startswith("s3://") else _read_file)(base, name, item)
    except (OSError, NotFoundError) as error:
        raise InputError(f"{item.key} in {root} cannot be read any more: {error}; list the source again.") from error
    if item.pin.startswith("sha256:"):
        pin = f"sha256:{sha256_hex(data)}"
    if pin != item.pin or len(data) != item.size:
        raise InputError(
            f"{item.key} in {root} changed since it was listed: {item.size} bytes, {item.pin} then, "
            f"{len(data)} bytes, {pin} now; run the command again to take the new content."
        )
    return data


def place_of(root: str, path: str) -> tuple[str, str]:
    """The folder or bucket that an item's `path` is below, and the path below it, still percent-encoded."""
    if path.startswith("s3://"):
        bucket, _, key = path.removeprefix("s3://").partition("/")
        return f"s3://{bucket}", key
    return ("/", path.lstrip("/")) if path.startswith("/") else (root, path)


def shown(path: bytes) -> str:
    """A path for people and for JSON: names that are not UTF-8 exist on Linux, and have no spelling there."""
    return path.decode("utf-8", "backslashreplace")


def local_file(root: str, item: Item) -> bytes:
    """The path of the item's file on this machine."""
    base, path = place_of(root, item.path)
    return os.path.join(os.fsencode(base), unquote_to_bytes(path))


def file_item(path: bytes, inside: bytes) -> Item:
    """The item of the local file `path`, called `inside` below its root. Raises OSError."""
    about = os.stat(path)
    return Item(shown(inside), about.st_size, f"mtime_ns:{about.st_mtime_ns}", quote(inside))


def remote(root: str) -> Store:
    """The store at `root`; one a process, because each makes an S3 client of its own."""
    return _remote(root, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


@lru_cache(maxsize=16)
def _remote(root: str, endpoint: str | None) -> Store:
    return open_store(root)


def _read_file(root: str, name: bytes, item: Item) -> tuple[bytes, str]:
    with open(os.path.join(os.fsencode(root), name), "rb") as file:
        file.seek(item.offset or 0)
        data = file.read(item.size if item.offset is not None else -1)
        return data, f"mtime_ns:{os.fstat(file.fileno()).st_mtime_ns}"


def _read_s3(root: str, name: bytes, item: Item) -> tuple[bytes, str]:
    store, key = remote(root), name.decode()
    about = store.head(key)
    data = store.read(key) if item.offset is None else store.read(key, item.offset, item.size)
    return data, f"etag:{about.etag if about else None}"
