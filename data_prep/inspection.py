"""What is known of raw files before anything is planned: read, checked and hashed, in chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from operator import attrgetter
from typing import Any

from data_prep.config import SHARD_VERSION, ShardConfig
from data_prep.fetch import UnfetchedError
from data_prep.fetched import Fetched, is_web
from data_prep.items import ABSENT, ITEM, Item, plain_item, read_item
from data_prep.parts import once
from data_prep.soundness import Rejected, inspect
from data_prep.spool import Code, Part
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.store import open_store

CHUNK, LONGEST_CHUNK = 16, 64


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is known of one file. sha256: of its bytes. reason: why it is rejected, None for a sound image, of which
    content, width, height are those of the archived pixels, and ext, bytes, changed those of the archived file. phash:
    perceptual hash, where near duplicates are asked for."""

    item: Item
    sha256: str
    reason: str | None
    content: str = ""
    width: int = 0
    height: int = 0
    ext: str = ""
    bytes: int = 0
    changed: bool = False
    phash: str = ""

    def plain(self) -> dict[str, Any]:
        """Plain JSON data for requests; what is not known is left out."""
        fields = asdict(self)
        return {n: v for n, v in {**fields, "item": plain_item(fields["item"])}.items() if n != "phash" or v}


def _packed(found: Inspected) -> list[Any]:
    return [ITEM.pack(found.item), *_VALUES(found)]


_VALUES = attrgetter(*(field.name for field in fields(Inspected) if field.name != "item"))
INSPECTED: Code[Inspected] = Code(_packed, lambda row: Inspected(ITEM.unpack(row[0]), *row[1:]))


def chunks_of(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """`items` in runs of about CHUNK, cut by their names alone: one that comes or goes changes only its own run, and
    `inspect_items` remembers the others.
    """
    start = end = 0
    for item in items:
        end += 1
        if hashlib.sha256(item.key.encode()).digest()[0] % CHUNK == 0 or end - start == LONGEST_CHUNK:
            yield Part(items, range(start, end))
            start = end
    if start < end:
        yield Part(items, range(start, end))


def inspect_items(store_uri: str, root: str, items: Sequence[Item], config: ShardConfig) -> list[Inspected]:
    """Read and check a chunk of a snapshot's items; remembered in the store, unless a web address may do better another
    time. root: from `source_root`.

    Raises InputError when a file changed since it was listed. Unsound images do not raise.
    """
    store = open_store(store_uri)
    web = Fetched(store, config.max_file_bytes)
    plain = [item.plain() for item in items]
    request = {"items": sha256_hex(canonical_json(plain)), "root": sha256_hex(root.encode())}
    result = once(
        store,
        "shard.inspect",
        SHARD_VERSION,
        request,
        as_plain(_of_one_file(config)),
        lambda: {"found": [_VALUES(found) for found in _inspect_each(root, items, config, web)]},
        lasting=lambda: not web.failed,
    )
    return [Inspected(item, *row) for item, row in zip(items, result["found"], strict=True)]


def _inspect_each(root: str, items: Sequence[Item], config: ShardConfig, web: Fetched) -> Iterator[Inspected]:
    fetched = web.ahead([item for item in items if is_web(item)])
    for item in items:
        if not is_web(item):
            yield inspect_item(root, item, config)
            continue
        data = next(fetched)
        yield _unread(item, str(data)) if isinstance(data, UnfetchedError) else _inspected(item, data, config)


def _of_one_file(config: ShardConfig) -> ShardConfig:
    """The rules that a single file is held against; what it was asked for with does not matter to its own record."""
    return replace(config, base="", near_duplicates=None if config.near_duplicates is None else 0)


def inspect_item(root: str, item: Item, config: ShardConfig) -> Inspected:
    """Read and check one file, which is not at a web address. One that is too large, or that a list names in vain, is
    rejected unread.
    """
    if item.pin == ABSENT:
        return _unread(item, "The list names it, and it is not there.")
    if item.size > config.max_file_bytes:
        return _unread(item, f"It has {item.size} bytes, above max_file_bytes = {config.max_file_bytes}.")
    return _inspected(item, read_item(root, item), config)


def _unread(item: Item, reason: str) -> Inspected:
    return Inspected(item, sha256_hex(f"unread:{item.size}".encode()), reason)


def _inspected(item: Item, data: bytes, config: ShardConfig) -> Inspected:
    found = inspect(data, config)
    if isinstance(found, Rejected):
        return Inspected(item, sha256_hex(data), found.reason)
    size, changed = len(found.data), bool(found.changes)
    about = (found.content, found.width, found.height, found.ext, size, changed, found.phash)
    return Inspected(item, sha256_hex(data), None, *about)
