"""A store that another LSR wrote is named with its way out, and stays as it is."""

from __future__ import annotations

import pytest

from lsr.cli.doctor import CHECKS
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.core.settings import load_settings
from lsr.store import Store, open_store
from lsr.store.actions import commit, lookup
from lsr.store.attempts import claim, owner_record
from lsr.store.content import put_blob
from lsr.store.roots import Record
from lsr.tools.formats import examine_formats


def fill(store: Store) -> None:
    """One result and one run as this code keeps them."""
    blobs = {"rows": put_blob(store, b"{}", "json")}
    commit(store, "a" * 64, Record(kind="evaluation", parents={}, blobs=blobs, made_by={}))
    claim(store, "b" * 64, "test", owner=owner_record(), ttl=60.0).release("done")


def first_format(store: Store) -> list[str]:
    """A model's record, its action and the lease of its run as the first format spelled them; their keys."""
    model = canonical_json({"format": 1, "kind": "decoder", "parents": {}, "weights": {}})
    path = f"models/decoder/{sha256_hex(model)}.json"
    ref = {"digest": sha256_hex(model), "format": 1, "key": "c" * 64, "kind": "decoder", "path": path}
    lease = {"expires": 0.0, "format": 1, "number": 1, "owner": {}}
    written = {path: model, f"actions/{'c' * 64}.json": canonical_json(ref)}
    written[f"runs/{'c' * 64}/lease.json"] = canonical_json(lease)
    for key, data in written.items():
        store.write(key, data)
    return list(written)


def everything(store: Store) -> dict[str, bytes]:
    return {info.key: store.read(info.key) for info in store.list("")}


def test_a_store_of_this_format_is_well(store_uri: str) -> None:
    store = open_store(store_uri)
    assert examine_formats(store).startswith("0 records")
    fill(store)
    assert "all of format 2" in examine_formats(store)


def test_a_store_of_the_first_format_is_named_with_its_way_out_and_stays_as_it_is(store_uri: str) -> None:
    store = open_store(store_uri)
    fill(store)
    old = first_format(store)
    before = everything(store)
    with pytest.raises(VersionMismatchError) as told:
        examine_formats(store)
    assert store_uri in str(told.value)
    assert "3 of format 1" in str(told.value)
    assert any(key in str(told.value) for key in old)
    assert "LSR_STORE" in str(told.value)
    assert everything(store) == before
    with pytest.raises(VersionMismatchError, match="lsr doctor"):
        lookup(store, "c" * 64)


def test_one_record_of_a_newer_format_among_many_is_named(store_uri: str) -> None:
    store = open_store(store_uri)
    fill(store)
    newer = {"format": 3, "key": "d" * 64}
    data = canonical_json({**newer, "sha256": sha256_hex(canonical_json(newer))})
    store.write(f"actions/{'d' * 64}.json", data)
    with pytest.raises(VersionMismatchError, match=r"1 of format 3, e\.g\. actions/d{64}"):
        examine_formats(store)


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"format": 2}'])
def test_a_damaged_record_is_named(store_uri: str, damaged: bytes) -> None:
    store = open_store(store_uri)
    fill(store)
    store.write(f"actions/{'a' * 64}.json", damaged)
    with pytest.raises(IntegrityError, match="a" * 64):
        examine_formats(store)


def test_the_doctor_asks() -> None:
    told = load_settings()
    assert CHECKS["records"](told).startswith("0 records")
    first_format(open_store(told.store))
    with pytest.raises(VersionMismatchError, match="another LSR"):
        CHECKS["records"](told)
