"""Records of a store that this code does not read: what they are, and what to do with such a store."""

from __future__ import annotations

from itertools import islice

from lsr.core.errors import NotFoundError, VersionMismatchError
from lsr.store import Store
from lsr.store.actions import ACTIONS
from lsr.store.records import parse_record
from lsr.store.roots import FORMAT, ROOTS, Record

LOOKED_AT = 100
"""Records of each kind that are read: a store is of one format, unless two versions of the code write into it."""


def check_formats(store: Store) -> str:
    """A sentence about the format of the store's records.

    Raises VersionMismatchError with the way out for a store of another format, IntegrityError for a changed record.
    """
    seen = 0
    for prefix in (ACTIONS, *ROOTS):
        for info in islice(store.list(prefix), LOOKED_AT):
            where = f"{store.uri}/{info.key}"
            try:
                data = store.read(info.key)
                parse_record(data, where) if prefix == ACTIONS else Record.from_bytes(data, where)
            except NotFoundError:
                continue
            except VersionMismatchError as error:
                raise VersionMismatchError(_way_out(store.uri, str(error))) from error
            seen += 1
    return f"{seen} records looked at, all of format {FORMAT}" if seen else "no result recorded yet"


def _way_out(uri: str, found: str) -> str:
    first = found.partition(";")[0]
    return (
        f"{first}. The store {uri} was written by another version of LSR: nothing in it is changed, guessed or lost. "
        "Set LSR_HOME or LSR_STORE to a new place and run the same commands there, which makes the results anew from "
        "the raw sources. Keep the old store for the version of LSR that wrote it, or delete it as a whole."
    )
