"""Listing raw pictures into a snapshot. May import lsr.data, lsr.store, lsr.core.

A snapshot pins what was there: key, size, and etag or mtime_ns (sha256 for a packaged set, so that its snapshot is
the same on every machine). What changed since then is refused when it is read. Web addresses of a list are not looked
at here: `data_prep.fetched` pins them when they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data_prep.config import SourceConfig
from data_prep.items import Item, file_item, local_file, remote
from data_prep.tar_source import list_tar
from data_prep.uri_list import list_rows, root_of
from lsr.core.canonical import canonical_json, canonical_list, sha256_hex
from lsr.core.errors import ConfigError, InputError, IntegrityError, NotFoundError, VersionMismatchError
from lsr.data.pixels import IMAGE_SUFFIXES

FORMAT = 1
ITEM_FIELDS = {"key", "size", "pin", "path"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a source held when it was listed. ignored: files left out for their suffix or a hidden name, by suffix."""

    uri: str
    items: tuple[Item, ...]
    ignored: dict[str, int]

    def to_bytes(self) -> bytes:
        """Canonical JSON; `from_bytes` reads it back."""
        # In pieces, by RFC 8785's order of names: a listing of millions as plain data is far larger than its bytes.
        head = canonical_json({"format": FORMAT, "ignored": self.ignored})[:-1]
        items = canonical_list(item.plain() for item in self.items)
        return b"".join((head, b',"items":', *items, b',"uri":', canonical_json(self.uri), b"}"))

    @property
    def digest(self) -> str:
        """sha256 of `to_bytes()`: the pin of the raw source in action keys."""
        return sha256_hex(self.to_bytes())

    @staticmethod
    def from_bytes(data: bytes, where: str) -> Snapshot:
        """Raises VersionMismatchError for another format, IntegrityError for anything else than a snapshot."""
        try:
            plain = json.loads(data, object_hook=_item_of)
            if plain.pop("format", None) != FORMAT:
                raise VersionMismatchError(f"{where} is no snapshot of format {FORMAT}; list the source again.")
            items = tuple(plain["items"])
            if not all(isinstance(item, Item) for item in items):
                raise ValueError("one of its items lacks a field")
            return Snapshot(uri=plain["uri"], items=items, ignored=plain["ignored"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{where} is not a snapshot of a source: {error}; list the source again.") from error


def _item_of(plain: dict[str, Any]) -> Item | dict[str, Any]:
    """The item as soon as it is parsed, so that a listing of millions is never there as plain data."""
    return Item(**plain) if plain.keys() >= ITEM_FIELDS else plain


def source_root(uri: str, cache: Path) -> str:
    """Where the files of source `uri` are: a local folder or `s3://bucket/prefix`. A named set is bundled or was put
    into `cache` by `lsr data get`; nothing is fetched here.

    Raises NotFoundError for a folder that does not exist, an unknown set, or one that is not on this machine yet.
    """
    if uri.startswith("set:"):
        from data_prep.sets import resolve

        return str(resolve(uri.removeprefix("set:"), cache))
    if uri.startswith("list:"):
        return root_of(uri.removeprefix("list:").removeprefix("file://"))
    place = uri.removeprefix("tar:").removeprefix("file://")
    if place.startswith("s3://"):
        return place.rstrip("/")
    if not os.path.isdir(place):
        raise NotFoundError(f"The source {uri} names no folder; give an existing folder, s3://, tar: or set: source.")
    return os.path.abspath(place)


def list_source(config: SourceConfig, cache: Path) -> Snapshot:
    """The pictures of a source, ordered by key.

    Files are pictures by suffix; other and hidden files are counted and ignored. Of a `tar:` source, those members of
    each WebDataset sample that are `<key>.<picture suffix>`, or any picture where a sample has none of that form. A
    `list:` source holds what the list names, whatever its suffix.
    Raises InputError when there is no picture, NotFoundError when the source does not exist, ConfigError for a name
    that cannot be a folder of the store.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        raise ConfigError(f"A data set's name may hold letters, digits, '.', '_' and '-', found {config.name!r}.")
    root = source_root(config.uri, cache)
    if config.uri.startswith("list:"):
        return _listed(config)
    files = sorted(_list_s3(root) if root.startswith("s3://") else _list_folder(root), key=lambda item: item.key)
    tars = config.uri.startswith("tar:")
    chosen = [item for item in files if _suffix(item.key) in (("tar",) if tars else IMAGE_SUFFIXES)]
    ignored = Counter(_suffix(item.key) or "none" for item in files)
    ignored.subtract(_suffix(item.key) for item in chosen)
    if tars:
        chosen = [member for tar in chosen for member in list_tar(root, tar)]
    if config.uri.startswith("set:"):
        chosen = [_pinned_by_content(root, item) for item in chosen]
    left = {suffix: count for suffix, count in sorted(ignored.items()) if count}
    if not chosen:
        raise InputError(_nothing_found(config.uri, left))
    return Snapshot(uri=config.uri, items=tuple(chosen), ignored=left)


def _suffix(key: str) -> str:
    name = key.rsplit("/", 1)[-1]
    return "hidden" if name.startswith(".") else name.rpartition(".")[2].lower() if "." in name else ""


def _nothing_found(uri: str, ignored: dict[str, int]) -> str:
    found = ", ".join(f"{count} of suffix {suffix}" for suffix, count in ignored.items())
    wanted = "tars" if uri.startswith("tar:") else f"pictures ({', '.join(IMAGE_SUFFIXES)})"
    wanted = "rows" if uri.startswith("list:") else wanted
    return f"The source {uri} holds no {wanted}; found {found or 'no files at all'}. Name a folder with pictures."


def _list_folder(root: str) -> Iterator[Item]:
    base, seen = os.fsencode(root), set()

    def unreadable(error: OSError) -> None:
        raise InputError(f"The folder {error.filename!r} cannot be listed: {error.strerror}; mend its rights.")

    for folder, folders, names in os.walk(base, onerror=unreadable, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(b".")]
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield file_item(path, os.path.relpath(path, base))


def _list_s3(root: str) -> Iterator[Item]:
    for found in remote(root).list(""):
        if not found.key.endswith("/"):
            yield Item(found.key, found.size, f"etag:{found.etag}", quote(found.key))


def _pinned_by_content(root: str, item: Item) -> Item:
    with open(local_file(root, item), "rb") as file:
        return replace(item, pin=f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def _listed(config: SourceConfig) -> Snapshot:
    items, repeated = list_rows(config.uri.removeprefix("list:").removeprefix("file://"), config.fetch)
    if not items:
        raise InputError(_nothing_found(config.uri, {}))
    ignored = {"repeated": repeated} if repeated else {}
    return Snapshot(uri=config.uri, items=tuple(sorted(items, key=lambda item: item.key)), ignored=ignored)
