"""Small JSON records that carry their own digest, read together with the etag that a compare-and-swap needs.

Actions, leases, attempts, requests, pointers and remembered parts are such records. The digest stands in the field
`sha256`, over the canonical JSON of all other fields, so that no flipped bit is ever taken for a fact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.store.base import Store

FORMAT = 2
"""1 had no digest."""

WAY_OUT = "`lsr doctor` says what to do with a store of another format."


def seal(fields: Mapping[str, Any]) -> bytes:
    """The bytes of a record with these fields, beside `format` and `sha256`; `parse_record` reads them back."""
    plain = {**fields, "format": FORMAT}
    return canonical_json({**plain, "sha256": sha256_hex(canonical_json(plain))})


def parse_record(data: bytes, where: str) -> dict[str, Any]:
    """The fields of the record in `data`, `format` among them. where: names it in errors.

    Raises IntegrityError unless the bytes are those that `seal` wrote, VersionMismatchError for another format.
    """
    record = json_object(data, where)
    stated = record.pop("sha256", None)
    found = record.get("format")
    if stated is None and found == 1:
        raise VersionMismatchError(f"{where} has format 1, this code reads {FORMAT}; {WAY_OUT}")
    plain = canonical_json(record)
    # The bytes too: a flipped bit may turn one spelling of a value into another one, or double a name.
    if stated != sha256_hex(plain) or data != canonical_json({**record, "sha256": stated}):
        raise IntegrityError(f"{where} must have the digest that it states; a bit of it changed. Restore or delete it.")
    if found != FORMAT:
        raise VersionMismatchError(f"{where} has format {found!r}, this code reads {FORMAT}; {WAY_OUT}")
    return record


def json_object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises IntegrityError naming `where` if there is none."""
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where} must hold JSON, found {data[:40]!r}; restore or delete it.") from error
    if not isinstance(plain, dict):
        raise IntegrityError(f"{where} must hold one JSON object, found {data[:40]!r}; restore or delete it.")
    return plain


def read_record(store: Store, key: str) -> tuple[dict[str, Any], str] | None:
    """The record under `key` and its etag, None if there is none.

    The etag is taken before the bytes: if the record changes in between, a later `replace` with it is rejected.
    """
    info = store.head(key)
    if info is None:
        return None
    try:
        return parse_record(store.read(key), f"{store.uri}/{key}"), info.etag
    except NotFoundError:
        return None
