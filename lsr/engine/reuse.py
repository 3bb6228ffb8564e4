"""Which recorded results may be used again: those whose root record and blobs are all still in the store.

Sizes are asked for, no byte is read: `lsr data verify` reads them all.
"""

from __future__ import annotations

import logging

from lsr.core.errors import NotFoundError
from lsr.core.refs import Ref
from lsr.store import Store
from lsr.store.actions import lookup
from lsr.store.roots import lost_blobs, read_root

_LOG = logging.getLogger(__name__)


def reusable(store: Store, key: str) -> Ref | None:
    """The recorded result of action `key` if nothing of it is lost; None, with a warning that names what is, otherwise.

    Raises what `lookup` and `read_root` raise for a record that cannot be trusted.
    """
    ref = lookup(store, key)
    if ref is None:
        return None
    lost = lost_objects(store, ref)
    if not lost:
        return ref
    _LOG.warning(
        "%s is recorded as made, but %d of its objects are missing from %s or cut short, e.g. %s;"
        " it has to be made again.",
        ref.path,
        len(lost),
        store.uri,
        lost[0],
    )
    return None


def lost_objects(store: Store, ref: Ref) -> list[str]:
    """Keys of the result's root record and blobs that are absent or of another size."""
    try:
        return lost_blobs(store, read_root(store, ref.path))
    except NotFoundError:
        return [ref.path]
