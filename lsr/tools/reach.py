"""What of a store is reached, and what is not: the map that `lsr gc` deletes by.

Nothing is deleted here. Reached is what an action, a run, a registered version, a promotion or a young object names,
directly or through root records and their parents. Names are read from records as text: whatever string in them is a
key of the store, or the digest of a root, is reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from data_prep.parts import PARTS
from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.store import ObjectInfo, Store
from lsr.store.actions import ACTIONS
from lsr.store.attempts import is_living
from lsr.store.content import FRESH_SECONDS
from lsr.store.layout import FOLDERS
from lsr.store.records import parse_record
from lsr.store.roots import Record, digest_in, is_root, read_root

RUNS, BLOBS, SNAPSHOTS, PROMOTIONS, VERDICTS = "runs/", "blobs/", "snapshots/", "promotions/", "verdicts/"
COLLECTED = tuple(name for name, folder in FOLDERS.items() if folder.collected)
"""Prefixes below which something can be unreached. All else of a store is kept: it is small, or not ours."""

CLOCK_SECONDS = 60.0
"""By how much the clock of a run's host may be ahead of the store's."""

_READERS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Map:
    """living: keys of the leases that a working process may hold. before: what was changed since then is kept.
    unreached: by key. retired: pointers of runs whose checkpoints are old enough to go, each with the files it names.
    kept: objects and bytes of what stays.
    """

    living: frozenset[str]
    before: float
    unreached: Mapping[str, ObjectInfo]
    retired: Mapping[str, frozenset[str]]
    kept: tuple[int, int]


@dataclass(slots=True)
class _Marks:
    """What was reached so far. roots: every root record of the store, by digest."""

    roots: Mapping[str, list[str]]
    reached: set[str] = field(default_factory=set)
    fresh: list[str] = field(default_factory=list)

    def name(self, text: str) -> None:
        """A text in a reached record: a key, a digest, or nothing of the store."""
        for key in (text, *self.roots.get(text, ())):
            if key not in self.reached:
                self.reached.add(key)
                self.fresh.append(key)


def survey(store: Store, *, now: float, grace: float, named: Iterable[str], retire_before: float | None = None) -> Map:
    """The map of `store`. now: seconds since the epoch. grace: seconds for which everything is kept. named: keys and
    digests that others name, such as the registry. retire_before: checkpoints of runs that nobody works on and that
    have not moved since then count as unreached.

    Raises IntegrityError or VersionMismatchError for a record that cannot be read: it may name anything.
    """
    # Before the listing: a run that ends meanwhile has written its result by then.
    living, claimed = _living(store, now)
    before = min([now - grace, *(at - FRESH_SECONDS - CLOCK_SECONDS for at in claimed)])
    infos = {info.key: info for info in store.list("")}
    by_digest: dict[str, list[str]] = defaultdict(list)
    for key in filter(is_root, infos):
        by_digest[digest_in(key)].append(key)
    marks = _Marks(by_digest)
    retired = _mark_records(store, infos, marks, living, retire_before)
    for text in named:
        marks.name(text)
    for key, info in infos.items():
        if info.modified >= before:
            marks.name(key)
    _follow(store, infos, marks)
    lost = {key: info for key, info in infos.items() if key.startswith(COLLECTED) and key not in marks.reached}
    lost = {key: info for key, info in lost.items() if not _stays(key)}
    _keep_whole_parts(store, lost, marks)
    kept = [info.size for key, info in infos.items() if key not in lost]
    return Map(living=living, before=before, unreached=lost, retired=retired, kept=(len(kept), sum(kept)))


def _living(store: Store, now: float) -> tuple[frozenset[str], list[float]]:
    """Keys of the leases in force, and when their attempts began."""
    leases, claimed = set(), []
    keys = [info.key for info in store.list(RUNS) if info.key.endswith("/lease.json")]
    for key, data in _read(store, keys):
        lease = parse_record(data, f"{store.uri}/{key}")
        if is_living(lease, now):
            leases.add(key)
            attempt = f"{key.rpartition('/')[0]}/attempt-{lease['number']}.json"
            try:
                claimed.append(parse_record(store.read(attempt), f"{store.uri}/{attempt}")["claimed_at"])
            except NotFoundError:
                # It is written right after the lease.
                claimed.append(now)
    return frozenset(leases), claimed


def living_leases(store: Store, now: float) -> frozenset[str]:
    """Keys of the leases that a working process may hold now."""
    return _living(store, now)[0]


def _mark_records(
    store: Store,
    infos: Mapping[str, ObjectInfo],
    marks: _Marks,
    living: frozenset[str],
    retire_before: float | None,
) -> dict[str, frozenset[str]]:
    """Mark what actions, runs and promotions name; the pointers to be retired, whose files are not marked."""
    retired = {}
    keys = [key for key in infos if key.startswith((ACTIONS, PROMOTIONS)) or is_run_record(key)]
    for key, data in _read(store, keys):
        record = parse_record(data, f"{store.uri}/{key}")
        texts = set(_texts(record))
        folder = key.rpartition("/")[0]
        files = frozenset(text for text in texts if text.startswith(f"{folder}/") and text in infos)
        old = retire_before is not None and infos[key].modified < retire_before and f"{folder}/lease.json" not in living
        if old and files and "fencing" in record:
            retired[key] = files
            texts -= files
        for text in texts:
            marks.name(f"{VERDICTS}{text}.json" if key.startswith(PROMOTIONS) else text)
    return retired


def _follow(store: Store, infos: Mapping[str, ObjectInfo], marks: _Marks) -> None:
    """Mark what reached root records and parts name, over any number of generations."""
    while marks.fresh:
        keys = [key for key in marks.fresh if key in infos and (is_root(key) or _is_part(key))]
        marks.fresh.clear()
        for key, data in _read(store, filter(_is_part, keys)):
            for text in _part_names(key, data):
                marks.name(text)
        for record in _roots(store, filter(is_root, keys)):
            for text in (*record.parents.values(), *(blob.path for blob in record.blobs.values())):
                marks.name(text)


def _keep_whole_parts(store: Store, lost: dict[str, ObjectInfo], marks: _Marks) -> None:
    """A remembered part is worth something while all blobs that it names are reached; an inspection names none."""
    for key, data in _read(store, [key for key in lost if _is_part(key)]):
        if marks.reached.issuperset(_part_names(key, data)):
            del lost[key]


def _part_names(key: str, data: bytes) -> set[str]:
    """Blobs that a part names; one that cannot be read names an impossible one, because it is of no use."""
    try:
        return {text for text in _texts(parse_record(data, key)) if text.startswith(BLOBS)}
    except (IntegrityError, VersionMismatchError):
        return {f"{BLOBS}unreadable"}


def _stays(key: str) -> bool:
    """Records of runs are small and say how a result came about; what was fetched from the web cannot be made again."""
    return is_run_record(key) or (key.startswith(PARTS) and not key.endswith(".json"))


def is_run_record(key: str) -> bool:
    """Whether a key is a lease, an attempt, a request or a pointer of a run, not one of its checkpoints."""
    return key.startswith(RUNS) and key.count("/") == 2 and key.endswith(".json")


def _is_part(key: str) -> bool:
    return key.startswith(PARTS) and key.endswith(".json")


def _roots(store: Store, keys: Iterable[str]) -> Iterator[Record]:
    with ThreadPoolExecutor(_READERS) as pool:
        for record in pool.map(lambda key: _root(store, key), keys):
            if record is not None:
                yield record


def _root(store: Store, key: str) -> Record | None:
    try:
        return read_root(store, key)
    except NotFoundError:
        return None


def _read(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """(key, bytes) of each; those that have gone are passed over."""

    def one(key: str) -> tuple[str, bytes] | None:
        try:
            return key, store.read(key)
        except NotFoundError:
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        yield from (found for found in pool.map(one, keys) if found is not None)


def _texts(value: Any) -> Iterator[str]:
    """Every string in plain JSON data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
