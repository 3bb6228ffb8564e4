"""The commit point: blobs first, then the root record, then the action record that makes the result visible."""

from __future__ import annotations

from lsr.core.canonical import sha256_hex
from lsr.core.errors import ConflictError, IntegrityError, NotFoundError
from lsr.core.refs import Ref
from lsr.store.base import Store
from lsr.store.content import create_once, freshen
from lsr.store.records import parse_record, seal
from lsr.store.roots import Record

ACTIONS = "actions/"


def commit(store: Store, key: str, record: Record) -> Ref:
    """Make a result visible: its root record, then the record of action `key`. Every blob must be stored before.

    Returns the Ref that the store records for the action, which is the first maker's if another one was faster.
    """
    data = record.to_bytes()
    digest = sha256_hex(data)
    ref = Ref(kind=record.kind, key=key, digest=digest, path=f"{record.directory}/{digest}.json")
    if not create_once(store, ref.path, data) and (found := store.head(ref.path)) is not None:
        freshen(store, found)
    if store.create(_action(key), seal(ref.as_dict())):
        return ref
    first = lookup(store, key)
    if first is None:
        raise ConflictError(f"{store.uri}/{_action(key)} was deleted while this result was committed; run it again.")
    if first.kind != ref.kind:
        raise IntegrityError(
            f"{store.uri}/{_action(key)} records a result of kind {first.kind!r}, this one is {ref.kind!r}; "
            "an action key must belong to one stage only."
        )
    return first


def lookup(store: Store, key: str) -> Ref | None:
    """The recorded result of action `key`, None if there is none yet.

    Raises IntegrityError or VersionMismatchError for a record that this code cannot trust.
    """
    where = f"{store.uri}/{_action(key)}"
    try:
        record = parse_record(store.read(_action(key)), where)
    except NotFoundError:
        return None
    fields = {name: record.get(name) for name in ("kind", "key", "digest", "path")}
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if texts != fields or texts["key"] != key:
        raise IntegrityError(f"{where} must name kind, key, digest and path of this action, found {fields}; delete it.")
    return Ref(**texts)


def forget(store: Store, key: str) -> None:
    """Remove the record of action `key`, whose result is lost, so that it can be made and recorded again."""
    store.delete(_action(key))


def _action(key: str) -> str:
    return f"{ACTIONS}{key}.json"
