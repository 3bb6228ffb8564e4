"""A takedown request: where a photo is, what was made with it, and its complete removal.

Removed are its shards, the root records that hold or show it with their images, blobs that no record names, images
in MLflow, files for people and cached shards. Trained results and model versions stay, because they hold no pixels:
`find` names them. `takedowns` says what outlives the removal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.fetched import copies
from lsr.core.errors import ConflictError, NotFoundError
from lsr.core.settings import Settings
from lsr.data.cache import shards_in
from lsr.data.manifest import SKIPPED
from lsr.engine.table import MEASURE
from lsr.registry.images import delete_images, images_of
from lsr.stages.register import REFS
from lsr.store import Store, open_store
from lsr.store.actions import ACTIONS
from lsr.store.files import sweep
from lsr.store.records import parse_record
from lsr.store.roots import digest_in
from lsr.tools.copies import cached_without, made_from, of_unknown_origin
from lsr.tools.holdings import Found, Holding, photo_of, search
from lsr.tools.orphans import Orphan, orphans
from lsr.tools.reach import RUNS, living_leases
from lsr.tools.sources import in_sources
from lsr.tools.takedowns import Takedown, name_digest, takedowns_of, write_takedown


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """All that is known of one request. touched: path, or "" for one that is gone, by digest of every result made with
    the photos. orphaned: blobs that no record names, with the photos or with unknown images. actions: keys of the
    runs that worked on them, each with the study that it worked for, if any. versions: MLflow run by version.
    """

    found: Found
    earlier: list[Takedown]
    touched: dict[str, str]
    orphaned: list[Orphan]
    actions: dict[str, str]
    versions: dict[str, str]


def find(settings: Settings, names: Sequence[str], within: str = "") -> dict[str, Any]:
    """Everything of the store and the registry that has to do with the photos `names`, as plain data.

    names: keys of photos or of their tiles, or names of files in their source, looked up in the data set `within` if
    one is given. photos: their keys. unknown: names that neither a data set nor an earlier takedown knows. holds:
    data sets with their shards and how many samples are concerned. shown: other results with their pixels. orphans:
    blobs that no record names. lineage: paths of what was made with one of those. versions: model versions that were.
    taken_down: when, by earlier requests. Raises ConfigError without a name, InputError for an ambiguous one.
    """
    store = open_store(settings.store)
    case = _case(store, settings, names, within)
    removed = set(case.found.removed)
    return {
        "names": list(names),
        "photos": sorted(case.found.photos),
        "unknown": case.found.unknown,
        "holds": _by_manifest(case.found.holdings),
        "shown": sorted(case.found.shown),
        "orphans": [orphan.path for orphan in case.orphaned],
        "lineage": sorted(path for path in case.touched.values() if path and path not in removed),
        "versions": sorted(case.versions),
        "taken_down": sorted(takedown.at for takedown in case.earlier),
    }


def delete(settings: Settings, names: Sequence[str], within: str = "") -> dict[str, list[str]]:
    """Remove the photos: `deleted`, what has gone, and `remains`, sentences about what has not.

    Every shard without them stays for the sets that share it. Can be run again at any time, also after a kill.
    Raises NotFoundError when nothing is known of any of them, ConflictError while a run works with them.
    """
    store = open_store(settings.store)
    case = _case(store, settings, names, within)
    if not case.found.photos:
        raise NotFoundError(f"No data set of {store.uri} holds {', '.join(names)}; nothing was deleted.")
    _reject_working_runs(store, case)
    write_takedown(
        store,
        photos=sorted(case.found.photos),
        names=sorted({name_digest(name) for name in (*names, *case.found.sources)}),
        digests=sorted(case.touched),
        removed=sorted({digest_in(path) for path in case.found.removed} | _removed_before(case)),
        actions=sorted(case.actions),
        versions=sorted(case.versions),
    )
    files, remains = in_sources(store, settings, case.found.sources)
    kept = sorted({key for source in case.found.sources for key in copies(store, source)})
    # Before the root records: only these lead to the sources' names, which the takedown keeps no way back to.
    _unlink(files)
    busy = bool(living_leases(store, time.time()))
    blobs, kept_back = _blobs(case, busy)
    # Root records before blobs: a result without its record does not exist, whereas one without its blobs is broken.
    gone = [*kept, *case.found.removed, *blobs]
    for key in gone:
        store.delete(key)
    remains += kept_back + _unfinished(store, busy)
    images = images_of(settings.mlflow, case.actions, set(case.versions.values()))
    stuck = delete_images(settings.mlflow, images)
    made = {digest_in(path) for path in case.found.removed} | _removed_before(case)
    own = made_from(settings.output, made, {name for name in case.actions.values() if name})
    own += cached_without(settings.cache, _staying(case.found))
    _unlink(own)
    sweep(shards_in(settings.cache))
    remains += [f"{path} of MLflow run {run}: {why} Delete it there." for run, path, why in stuck]
    remains += of_unknown_origin(settings.output, case.found.roots)
    failed = {(run, path) for run, path, _ in stuck}
    gone += [f"MLflow run {run}: {path}" for run, path in images if (run, path) not in failed]
    return {"deleted": gone + [str(file) for file in (*files, *own)], "remains": remains}


def _unlink(files: Collection[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _unfinished(store: Store, busy: bool) -> list[str]:
    """Remove writes that nobody finishes, which may hold the photo; a sentence for each that had to stay."""
    left = list(store.leftovers(time.time()))
    if busy:
        # S3 does not say whose an upload is.
        return [f"The unfinished write {one.key} may hold it; run the command again when no run works." for one in left]
    for one in left:
        store.discard(one)
    return []


def _case(store: Store, settings: Settings, names: Sequence[str], within: str) -> _Case:
    before = takedowns_of(store, names, [])
    known = {name: _photos_for(name, before) for name in names}
    found = search(store, names, within, known)
    orphaned = [one for one in orphans(store, found.roots.values()) if _concerns(one, found, names)]
    asked = {photo_of(name) for name in names}
    held = {photo: source for one in orphaned for photo, source in (one.photos or {}).items()}
    fresh = {photo: source for photo, source in held.items() if source in names or photo in asked}
    if fresh.keys() - found.photos:
        unknown = [name for name in found.unknown if name not in fresh.values() and photo_of(name) not in fresh]
        sources = found.sources | {source for source in fresh.values() if source}
        found = replace(found, photos=found.photos | fresh.keys(), unknown=unknown, sources=sources)
        # Its tiles and images, which do not say the source's name, too.
        orphaned = [one for one in orphans(store, found.roots.values()) if _concerns(one, found, names)]
    earlier = takedowns_of(store, names, sorted(found.photos))
    gone = {digest_in(path) for path in found.removed}
    touched = _descendants(found, gone | {digest for one in earlier for digest in one.digests})
    actions = {key: "" for one in earlier for key in one.actions}
    actions |= _actions(store, found, gone | {digest for one in earlier for digest in one.removed})
    return _Case(
        found=found,
        earlier=earlier,
        touched=touched,
        orphaned=orphaned,
        actions=actions,
        versions=_versions(settings, touched),
    )


def _photos_for(name: str, earlier: Sequence[Takedown]) -> list[str]:
    """Keys of photos that were taken down under this name; a takedown of several does not say which has which."""
    photos = [one.photos for one in earlier if name_digest(name) in one.names or name in one.photos]
    return sorted({name} if any(name in keys for keys in photos) else {key for keys in photos for key in keys})


def _concerns(orphan: Orphan, found: Found, names: Collection[str]) -> bool:
    """Whether an orphan holds one of the photos; one that cannot be read may."""
    if orphan.photos is None:
        return bool(found.photos)
    asked = found.photos | {photo_of(name) for name in names}
    return bool(asked & orphan.photos.keys() or set(names) & set(orphan.photos.values()))


def _descendants(found: Found, seeds: set[str]) -> dict[str, str]:
    """`seeds` and every root that names one as a parent, over any number of generations."""
    paths = {digest_in(path): path for path in found.roots}
    parents = {digest_in(path): set(record.parents.values()) for path, record in found.roots.items()}
    touched = set(seeds)
    while fresh := {digest for digest, named in parents.items() if named & touched and digest not in touched}:
        touched |= fresh
    return {digest: paths.get(digest, "") for digest in touched}


def _actions(store: Store, found: Found, seeds: set[str]) -> dict[str, str]:
    """By key of the actions that made one of the results `seeds` or took one as an input, finished or not, because
    their runs have images: the name of the study that asked, "" for others.
    """
    by_digest = {digest_in(path): record for path, record in found.roots.items()}
    keys: dict[str, str] = {}
    for info in store.list(ACTIONS):
        action = parse_record(store.read(info.key), f"{store.uri}/{info.key}")
        record = by_digest.get(action["digest"])
        if action["digest"] in seeds or (record is not None and seeds & set(record.parents.values())):
            keys[action["key"]] = ""
    for info in store.list(RUNS):
        if info.key.endswith("/request.json"):
            request = parse_record(store.read(info.key), f"{store.uri}/{info.key}")
            if request["key"] in keys or seeds & {ref["digest"] for ref in request["inputs"].values()}:
                keys[request["key"]] = request["name"] if request["stage"] == MEASURE.name else ""
    return keys


def _versions(settings: Settings, digests: Collection[str]) -> dict[str, str]:
    """Registered versions made from one of these results, each with the MLflow run that made it."""
    from lsr.registry.versions import every_version

    found = {}
    for version in every_version(settings.mlflow):
        refs = json.loads(version.tags.get(REFS, "{}"))
        if any(ref.get("digest") in digests for ref in refs.values()):
            found[str(version)] = version.run_id
    return found


def _reject_working_runs(store: Store, case: _Case) -> None:
    living = {lease.split("/")[1] for lease in living_leases(store, time.time())}
    busy = sorted(living & case.actions.keys())
    if busy:
        raise ConflictError(
            f"A run works with this photo now: action {busy[0][:12]}. End it or wait for it, then run the command "
            "again; nothing was deleted."
        )


def _removed_before(case: _Case) -> set[str]:
    return {digest for takedown in case.earlier for digest in takedown.removed}


def _staying(found: Found) -> set[str]:
    """Blobs of the results that stay."""
    removed = set(found.removed)
    return {blob.path for path, record in found.roots.items() if path not in removed for blob in record.blobs.values()}


def _blobs(case: _Case, busy: bool) -> tuple[list[str], list[str]]:
    """Blobs to delete, and sentences about what is left. Deleted are the photos' shards and indices; the lists of
    rejected files, which name their copies; all of other results that show them, unless a result that stays names
    them, too; orphans. busy: whether any run works, which may be about to name an orphan that says no photo.
    """
    found = case.found
    stay = _staying(found)
    shards = {path for holding in found.holdings for path in (holding.row.path, holding.row.index)}
    lists = {found.roots[path].blobs.get(SKIPPED) for path in found.removed}
    others = {blob.path for path in found.shown for blob in found.roots[path].blobs.values()}
    others |= {blob.path for blob in lists if blob is not None}
    unsaid = {orphan.path for orphan in case.orphaned if orphan.photos is None}
    loose = {orphan.path for orphan in case.orphaned} - (unsaid if busy else set())
    left = [f"{path} may show it, and a run is working; run the command again when none is." for path in sorted(unsaid)]
    return sorted(shards | (others - stay) | loose), left if busy else []


def _by_manifest(holdings: Sequence[Holding]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for holding in holdings:
        entry = found.setdefault(
            holding.manifest, {"path": holding.manifest, "kind": holding.kind, "samples": 0, "shards": []}
        )
        entry["samples"] += len(holding.samples)
        entry["shards"].append(holding.row.path)
    return list(found.values())
