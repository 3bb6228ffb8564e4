"""What two data sets differ in, and in which order training meets a data set's samples. Indices are read, no shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Any

import numpy as np

from lsr.core.errors import ConfigError, InputError
from lsr.core.randomness import derive_seed
from lsr.core.settings import Settings
from lsr.data.index import IndexRow
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.order import SampleOrder, rank_positions, share_of
from lsr.data.shards import index_of, index_rows
from lsr.store import Store, open_store


def compare(settings: Settings, before: str, after: str) -> dict[str, Any]:
    """What `after` (a manifest path) has, lacks and holds otherwise than `before`, as plain data.

    added, removed, changed: keys in order; changed are those whose source, split, size or members differ in length.
    shards: how many both share, and how many only one has. Raises InputError for sets of different kinds.
    """
    store = open_store(settings.store)
    old, new = load_manifest(store, before), load_manifest(store, after)
    if old.kind != new.kind:
        raise InputError(f"Only data sets of one kind can be compared, found {old.kind} ({before}) and {new.kind}.")
    olds, news = _rows(store, old), _rows(store, new)
    both = olds.keys() & news.keys()
    mine, theirs = ({row.sha256: row.bytes for row in manifest.shards} for manifest in (old, new))
    return {
        "before": before,
        "after": after,
        "kind": new.kind,
        "same": len(both) - len(changed := sorted(key for key in both if _content(olds[key]) != _content(news[key]))),
        "added": sorted(news.keys() - olds.keys()),
        "removed": sorted(olds.keys() - news.keys()),
        "changed": changed,
        "splits": {name: dict(sorted(_splits(rows).items())) for name, rows in (("before", olds), ("after", news))},
        "shards": {
            "shared": len(mine.keys() & theirs.keys()),
            "only_before": len(mine.keys() - theirs.keys()),
            "only_after": len(theirs.keys() - mine.keys()),
            "bytes_only_after": sum(size for digest, size in theirs.items() if digest not in mine),
        },
    }


def _rows(store: Store, manifest: Manifest) -> dict[str, IndexRow]:
    return {row.key: row for row in index_rows(store, manifest)}


def _content(row: IndexRow) -> tuple[Any, ...]:
    """What a sample is, without where in its tar it lies."""
    sizes = tuple(sorted((ext, size) for ext, (_, size) in row.members.items()))
    return row.source, row.split, row.width, row.height, sizes


def _splits(rows: dict[str, IndexRow]) -> Counter[str]:
    return Counter(row.split for row in rows.values())


def order_of(
    settings: Settings,
    path: str,
    *,
    seed: int,
    stage: str,
    window: int,
    batch: int,
    world: int,
    rank: int,
    start: int,
    count: int,
) -> Iterator[tuple[int, str]]:
    """(position, key) of the next `count` samples that `rank` of `world` processes trains on, from position `start` on.

    seed, stage, window, batch: of the recipe; together with the manifest they fix the order. Raises ConfigError
    for a rank, world or position that cannot be, InputError for an empty data set.
    """
    share_of(batch, rank, world)
    if start < 0 or count < 0:
        raise ConfigError(f"from and count must not be negative, found {start} and {count}.")
    store = open_store(settings.store)
    manifest = load_manifest(store, path)
    order = SampleOrder([row.samples for row in manifest.shards], manifest.digest, derive_seed(seed, stage), window)
    ends = np.array(list(accumulate(row.samples for row in manifest.shards)))
    keys: dict[int, list[str]] = {}
    for position in islice(rank_positions(start, batch, rank, world), count):
        index = order.at(position)
        shard = int(np.searchsorted(ends, index, side="right"))
        if shard not in keys:
            if len(keys) > 2 * window:
                keys.clear()
            keys[shard] = [row.key for row in index_of(store, manifest.shards[shard])]
        yield position, keys[shard][index - int(ends[shard]) + manifest.shards[shard].samples]
