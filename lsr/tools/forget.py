"""Where a picture is: every data set that holds it, and every result and model version that was made with it.

What a takedown request asks for. Indices and root records are read, no shard.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.fetched import copies
from data_prep.planning import KEY_DIGITS, SAME_AS
from lsr.core.errors import ConfigError, NotFoundError
from lsr.core.settings import Settings
from lsr.data.index import IndexRow
from lsr.data.manifest import Manifest, ShardRow, load_manifest
from lsr.data.shards import index_of
from lsr.store import Store, open_store
from lsr.store.content import get_blob

ROOTS = ("datasets/", "models/", "evaluations/")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(rf"([0-9a-f]{{{KEY_DIGITS}}})(-\d+-\d+(-flip)?)?")


@dataclass(frozen=True, slots=True)
class Holding:
    """A shard of a data set that holds one of the pictures, and the samples that do."""

    manifest: str
    kind: str
    row: ShardRow
    samples: tuple[IndexRow, ...]


def find(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    """Everything of the store and the registry that has to do with the pictures `names`, as plain data.

    names: keys of pictures or of their tiles, or names of files in their source. pictures: their keys. unknown: names
    that no data set of the store has. holds: data sets with their shards and how many samples are concerned. lineage:
    paths of data sets, trained results and evaluations that were made with one of those. versions: model versions that
    were. Raises ConfigError without a name.
    """
    store = open_store(settings.store)
    pictures, unknown, holdings = _search(store, names)
    held = {holding.manifest for holding in holdings}
    touched = _descendants(store, {_digest_of(path) for path in held})
    return {
        "names": list(names),
        "pictures": sorted(pictures),
        "unknown": unknown,
        "holds": _by_manifest(holdings),
        "lineage": sorted(path for path in touched.values() if path not in held),
        "versions": _versions(settings, touched.keys()),
    }


def delete(settings: Settings, names: Sequence[str]) -> list[str]:
    """Delete what holds the pictures: their shards with the indices, the manifests that name those, and what is kept of
    the web addresses they came from. Returns keys.

    Every other shard stays for the sets that share it. Trained results and model versions stay too; `find` names them.
    Raises NotFoundError when no data set holds any of them.
    """
    store = open_store(settings.store)
    _, _, holdings = _search(store, names)
    if not holdings:
        raise NotFoundError(f"No data set of {store.uri} holds {', '.join(names)}; nothing was deleted.")
    # Manifests first: a data set without its manifest does not exist, whereas one without its shards is broken.
    manifests = sorted({holding.manifest for holding in holdings})
    blobs = sorted({path for holding in holdings for path in (holding.row.path, holding.row.index)})
    kept = sorted({key for source in _sources(store, holdings) for key in copies(store, source)})
    for key in (*manifests, *blobs, *kept):
        store.delete(key)
    return [*manifests, *blobs, *kept]


def _sources(store: Store, holdings: Sequence[Holding]) -> set[str]:
    """Names in their source of the pictures, and of the copies that were left out for them."""
    found = {sample.source for holding in holdings for sample in holding.samples}
    sets = [load_manifest(store, path) for path in {holding.manifest for holding in holdings}]
    return found | {copy for one in sets for copy, stayed in _copies(store, one) if stayed in found}


def _search(store: Store, names: Sequence[str]) -> tuple[set[str], list[str], list[Holding]]:
    """Keys of the pictures, names that are nowhere, and the shards that hold one."""
    if not names:
        raise ConfigError("Name at least one picture: its key, or the name of its file in the source.")
    sets = [(info.key, load_manifest(store, info.key)) for info in store.list("datasets/")]
    # A copy was left out, and its picture is there under the name of the file that stayed.
    stands_for = {name: {name} for name in names}
    for _, manifest in sets:
        for source, stayed in _copies(store, manifest):
            if source in stands_for:
                stands_for[source].add(stayed)
    wanted = {name for group in stands_for.values() for name in group}
    keys = {match[1]: name for name in wanted if (match := _KEY.fullmatch(name))}
    pictures, seen = set[str](), set[str]()
    for _, manifest in sets:
        for _, index in _indices(store, manifest):
            for sample in index:
                picture = _picture(sample.key)
                if sample.source in wanted or picture in keys:
                    pictures.add(picture)
                    seen |= {sample.source, keys.get(picture, "")}
    holdings = []
    for path, manifest in sets if pictures else ():
        for row, index in _indices(store, manifest):
            if held := tuple(sample for sample in index if _picture(sample.key) in pictures):
                holdings.append(Holding(path, manifest.kind, row, held))
    return pictures, [name for name in names if not stands_for[name] & seen], holdings


def _picture(key: str) -> str:
    match = _KEY.fullmatch(key)
    return match[1] if match else key


def _indices(store: Store, manifest: Manifest) -> Iterator[tuple[ShardRow, list[IndexRow]]]:
    return ((row, index_of(store, row)) for row in manifest.shards)


def _copies(store: Store, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(file that was left out as a copy, file that stayed)."""
    if manifest.kind != "images" or manifest.refusals is None:
        return
    import pyarrow.parquet as pq

    for row in pq.read_table(io.BytesIO(get_blob(store, manifest.refusals.path))).to_pylist():
        if row["kind"] == "duplicate":
            yield row["source"], row["reason"].removeprefix(SAME_AS).removesuffix(".")


def _by_manifest(holdings: Sequence[Holding]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for holding in holdings:
        entry = found.setdefault(
            holding.manifest, {"path": holding.manifest, "kind": holding.kind, "samples": 0, "shards": []}
        )
        entry["samples"] += len(holding.samples)
        entry["shards"].append(holding.row.path)
    return list(found.values())


def _digest_of(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".json")


def _descendants(store: Store, digests: set[str]) -> dict[str, str]:
    """Path by digest of `digests` and of every root record that names one of them, over any number of generations."""
    parents: dict[str, set[str]] = {}
    paths: dict[str, str] = {}
    for root in ROOTS:
        for info in store.list(root):
            digest = _digest_of(info.key)
            named = json.loads(store.read(info.key)).get("parents", {})
            paths[digest] = info.key
            parents[digest] = {text for text in named.values() if isinstance(text, str) and _DIGEST.fullmatch(text)}
    found = {digest for digest in digests if digest in paths}
    while fresh := {digest for digest, named in parents.items() if named & found and digest not in found}:
        found |= fresh
    return {digest: paths[digest] for digest in found}


def _versions(settings: Settings, digests: Collection[str]) -> list[str]:
    """Registered versions made from one of these results."""
    from lsr.registry.versions import every_version
    from lsr.stages.register import REFS

    found = []
    for version in every_version(settings.mlflow):
        refs = json.loads(version.tags.get(REFS, "{}"))
        if any(ref.get("digest") in digests for ref in refs.values()):
            found.append(str(version))
    return found
