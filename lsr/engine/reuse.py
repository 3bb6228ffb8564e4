"""Which recorded results may be used again: those whose manifest and blobs are all still in the store.

Sizes are asked for, no byte is read: `lsr data verify` reads them all.
"""

from __future__ import annotations

import logging
import re

from lsr.core.errors import NotFoundError
from lsr.core.refs import Ref
from lsr.data.manifest import load_manifest
from lsr.data.verify import missing
from lsr.store import Store
from lsr.store.content import lookup, sizes_of

_BLOB = re.compile(rb'"(blobs/[0-9a-f]{64}\.[a-z0-9.]+)"')
_LOG = logging.getLogger(__name__)


def reusable(store: Store, key: str) -> Ref | None:
    """The recorded result of action `key` if nothing of it is lost; None, with a warning that names what is, otherwise.

    Raises what `lookup` raises for a record, and `load_manifest` for a manifest, that cannot be trusted.
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
    """Keys of the result's manifest and blobs that are absent, or of another size where the manifest states one."""
    try:
        if ref.path.startswith("datasets/"):
            return missing(store, load_manifest(store, ref.path))
        named = sorted({found.decode() for found in _BLOB.findall(store.read(ref.path))})
    except NotFoundError:
        return [ref.path]
    return [path for path, size in sizes_of(store, named).items() if size is None]
