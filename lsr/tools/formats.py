"""Which formats the records of a store have. Nothing is changed, converted or guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from lsr.core.errors import NotFoundError, VersionMismatchError
from lsr.store import Store
from lsr.store.actions import ACTIONS
from lsr.store.records import FORMAT as RECORD_FORMAT
from lsr.store.records import json_object, parse_record
from lsr.store.roots import FORMAT as ROOT_FORMAT
from lsr.store.roots import ROOTS, Record, is_root
from lsr.tools.reach import RUNS, is_run_record

_READERS = 16


def examine_formats(store: Store) -> str:
    """One sentence about the records of results and runs, when this code reads the format of all.

    Raises VersionMismatchError that names the store, what it holds and the way out for others, IntegrityError for a
    record with a changed bit.
    """
    found, example = Counter[str](), dict[str, str]()
    for key, stated in _stated(store):
        wanted = ROOT_FORMAT if is_root(key) else RECORD_FORMAT
        name = "" if stated == wanted else repr(stated)
        found[name] += 1
        example.setdefault(name, key)
    current = found.pop("", 0)
    if found:
        counts = ", ".join(f"{number} of format {name}, e.g. {example[name]}" for name, number in sorted(found.items()))
        raise VersionMismatchError(
            f"{store.uri} holds records that another LSR wrote: {counts}; this code reads format {ROOT_FORMAT}. They "
            "are neither converted nor used, and nothing of them was changed. Give LSR_STORE a new place and make "
            "the results there again; keep this store with the LSR that wrote it, or delete it when nobody needs it."
        )
    return f"{current} records of results and runs, all of format {ROOT_FORMAT}"


def _stated(store: Store) -> Iterator[tuple[str, object]]:
    """(key, format stated) of every action, run and root record. Raises IntegrityError for one with a changed bit."""

    def read(key: str) -> tuple[str, object] | None:
        where = f"{store.uri}/{key}"
        try:
            data = store.read(key)
        except NotFoundError:
            return None
        try:
            (Record.from_bytes if is_root(key) else parse_record)(data, where)
        except VersionMismatchError:
            return key, json_object(data, where).get("format")
        return key, ROOT_FORMAT if is_root(key) else RECORD_FORMAT

    keys = [info.key for prefix in (ACTIONS, *ROOTS) for info in store.list(prefix) if info.key.endswith(".json")]
    keys += [info.key for info in store.list(RUNS) if is_run_record(info.key)]
    with ThreadPoolExecutor(_READERS) as pool:
        yield from (found for found in pool.map(read, keys) if found is not None)
