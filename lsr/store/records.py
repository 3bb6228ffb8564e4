"""Small JSON records that are read together with the etag a compare-and-swap needs."""

from __future__ import annotations

import json
from typing import Any

from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.store.base import Store

FORMAT = 1


def parse_record(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises IntegrityError if there is none, VersionMismatchError for another format."""
    try:
        record = json.loads(data)
    except ValueError as error:
        raise IntegrityError(f"{where} must hold JSON, found {data[:40]!r}; restore or delete it.") from error
    if not isinstance(record, dict):
        raise IntegrityError(f"{where} must hold one JSON object, found {data[:40]!r}; restore or delete it.")
    if record.get("format") != FORMAT:
        raise VersionMismatchError(
            f"{where} has format {record.get('format')!r}, this code reads {FORMAT}; use the LSR version that wrote it."
        )
    return record


def read_record(store: Store, key: str) -> tuple[dict[str, Any], str] | None:
    """The record under `key` and its etag, None if there is none.

    The etag is taken before the bytes: if the record changes in between, a later `replace` with it is refused.
    """
    info = store.head(key)
    if info is None:
        return None
    try:
        return parse_record(store.read(key), f"{store.uri}/{key}"), info.etag
    except NotFoundError:
        return None
