"""Where a photo is: every data set that holds a sample of it, and every other result that shows its pixels.

Of data sets the indices are read, of other results what their root records say; no shard is read.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.planning import KEY_DIGITS, SAME_AS
from lsr.core.errors import ConfigError, InputError
from lsr.data.index import IndexRow
from lsr.data.manifest import DATASETS, Manifest, ShardRow
from lsr.data.shards import index_of
from lsr.store import Store
from lsr.store.content import get_blob
from lsr.store.roots import PHOTOS, Record, every_root

_KEY = re.compile(rf"([0-9a-f]{{{KEY_DIGITS}}})(-\d+-\d+(-flip)?)?")


@dataclass(frozen=True, slots=True)
class Holding:
    """A shard of a data set that holds one of the photos, and the samples that do."""

    manifest: str
    kind: str
    row: ShardRow
    samples: tuple[IndexRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a search found. photos: their keys. sources: every name of theirs in a source, those of rejected copies too.
    unknown: names that no data set has. holdings: shards. shown: paths of other root records with their pixels.
    roots: every root record of the store by path.
    """

    photos: frozenset[str]
    sources: frozenset[str]
    unknown: list[str]
    holdings: list[Holding]
    shown: list[str]
    roots: Mapping[str, Record]

    @property
    def removed(self) -> list[str]:
        """Paths of the root records that hold or show a photo, and go with it."""
        return sorted({holding.manifest for holding in self.holdings} | set(self.shown))


def photo_of(key: str) -> str:
    """The key of the photo that a sample, a tile say, was made from."""
    match = _KEY.fullmatch(key)
    return match[1] if match else key


def search(store: Store, names: Sequence[str], within: str, also: Mapping[str, Sequence[str]]) -> Found:
    """Where the photos `names` are. names: keys of photos or of their tiles, or names of files in their source.

    within: name or manifest path of the data set that names of files are looked up in; "" for all. also: keys of
    photos that a name is known for, beside what data sets say. Raises ConfigError without a name, InputError for a
    name that different photos have.
    """
    if not names:
        raise ConfigError("Name at least one photo: its key, or the name of its file in the source.")
    roots = dict(every_root(store))
    sets = {path: Manifest.of(record, path) for path, record in roots.items() if path.startswith(DATASETS)}
    copies = [pair for manifest in sets.values() for pair in _copies(store, manifest)]
    photos, unknown = set[str](), []
    looked_up = _photos_by_source(store, {path: one for path, one in sets.items() if within in ("", path, one.name)})
    present = {key for by_set in looked_up.values() for key in by_set} | _all_photos(store, sets, within)
    present |= {key for record in roots.values() for key in record.extra.get(PHOTOS, ())}
    for name in names:
        known = set(also.get(name, ()))
        if match := _KEY.fullmatch(name):
            known |= {match[1]} & present
        else:
            known |= _named(name, looked_up, copies)
        if not known:
            unknown.append(name)
        photos |= known
    holdings = [found for path, manifest in sets.items() for found in _held(store, path, manifest, photos)]
    sources = {sample.source for holding in holdings for sample in holding.samples}
    sources |= {copy for copy, stayed in copies if stayed in sources}
    shown = [path for path, record in roots.items() if photos & set(record.extra.get(PHOTOS, ()))]
    return Found(
        photos=frozenset(photos),
        sources=frozenset(sources),
        unknown=unknown,
        holdings=holdings,
        shown=shown,
        roots=roots,
    )


def _photos_by_source(store: Store, sets: Mapping[str, Manifest]) -> dict[str, dict[str, list[str]]]:
    """source name -> photo key -> manifests."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, manifest in sets.items():
        for row in manifest.shards:
            for sample in index_of(store, row):
                manifests = found[sample.source][photo_of(sample.key)]
                if not manifests or manifests[-1] != path:
                    manifests.append(path)
    return found


def _all_photos(store: Store, sets: Mapping[str, Manifest], within: str) -> set[str]:
    """Keys of the photos of all sets; a key names the same photo in each of them."""
    if not within:
        return set()
    return {photo_of(sample.key) for one in sets.values() for row in one.shards for sample in index_of(store, row)}


def _named(
    name: str, sources: Mapping[str, Mapping[str, Sequence[str]]], copies: Sequence[tuple[str, str]]
) -> set[str]:
    """Keys of the one photo that is called `name`, or whose rejected copy is."""
    keys = dict(sources.get(name, {}))
    for copy, stayed in copies:
        if copy == name:
            keys |= dict(sources.get(stayed, {}))
    if len(keys) > 1:
        choices = "; ".join(f"{key} in {', '.join(sorted(paths))}" for key, paths in sorted(keys.items()))
        raise InputError(
            f"{name} names {len(keys)} different photos: {choices}. Give the key of the one that is meant, or its data "
            "set with --in."
        )
    return set(keys)


def _held(store: Store, path: str, manifest: Manifest, photos: set[str]) -> Iterator[Holding]:
    if not photos:
        return
    for row in manifest.shards:
        held = tuple(sample for sample in index_of(store, row) if photo_of(sample.key) in photos)
        if held:
            yield Holding(path, manifest.kind, row, held)


def _copies(store: Store, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(file that was rejected as a copy, file that stayed)."""
    if manifest.kind != "images" or manifest.skipped is None:
        return
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(get_blob(store, manifest.skipped.path))).to_pylist()
    for row in rows:
        if row["kind"] == "duplicate":
            yield row["source"], row["reason"].removeprefix(SAME_AS).removesuffix(".")
