"""A store of the first format is named, with what to do; nothing of it is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.store import Store, open_store
from lsr.store.actions import commit
from lsr.store.content import put_blob
from lsr.store.roots import Record
from lsr.tools.formats import check_formats


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def test_a_store_of_this_format_is_fine(store: Store) -> None:
    assert check_formats(store) == "no result recorded yet"
    blob = put_blob(store, b"weights", "safetensors")
    commit(store, "a" * 64, Record(kind="joint", parents={}, blobs={"ema": blob}, made_by={}))
    assert check_formats(store) == "2 records looked at, all of format 2"


@pytest.mark.parametrize("kind", ["action", "root"])
def test_a_store_of_the_first_format_is_named_with_the_way_out(store: Store, kind: str) -> None:
    """Both as they were written then."""
    trained = canonical_json({"format": 1, "kind": "joint", "parents": {}, "weights": {"ema": "blobs/x.safetensors"}})
    path = f"models/joint/{sha256_hex(trained)}.json"
    action = {"digest": sha256_hex(trained), "format": 1, "key": "a" * 64, "kind": "joint", "path": path}
    if kind == "root":
        store.write(path, trained)
    else:
        store.write(f"actions/{'a' * 64}.json", canonical_json(action))
    before = {info.key: store.read(info.key) for info in store.list("")}
    with pytest.raises(VersionMismatchError, match="has format 1, this code reads 2") as caught:
        check_formats(store)
    assert all(word in str(caught.value) for word in (store.uri, "LSR_HOME", "LSR_STORE", "nothing in it is changed"))
    assert {info.key: store.read(info.key) for info in store.list("")} == before


def test_a_changed_record_is_named(store: Store) -> None:
    ref = commit(store, "a" * 64, Record(kind="joint", parents={}, blobs={}, made_by={}))
    action = f"actions/{ref.key}.json"
    store.write(action, store.read(action).replace(b"joint", b"joins"))
    with pytest.raises(IntegrityError, match=action):
        check_formats(store)
