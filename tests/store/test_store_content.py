"""Content addressing and the commit point: what is written once, what is verified, who wins."""

from __future__ import annotations

import json

import pytest

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import ConflictError, InputError, IntegrityError, NotFoundError, VersionMismatchError
from lsr.core.refs import Ref
from lsr.store import content
from lsr.store.actions import commit, forget, lookup
from lsr.store.content import create_once, get_blob, put_blob
from lsr.store.records import parse_record, seal
from lsr.store.roots import Record

KEY = "0123456789ab" * 5 + "0123"


def root(note="", kind="tiles"):
    return Record(kind=kind, parents={}, blobs={}, made_by={}, extra={"name": "photos", "note": note})


def commit_to(store, note="", kind="tiles"):
    return commit(store, KEY, root(note, kind))


def test_a_blob_is_named_by_its_bytes(store, tmp_path):
    data = b"tar bytes" * 1000
    blob = put_blob(store, data, "tar")
    assert (blob.path, blob.sha256, blob.bytes) == (f"blobs/{sha256_hex(data)}.tar", sha256_hex(data), 9000)
    assert get_blob(store, blob.path) == data
    (tmp_path / "same").write_bytes(data)
    assert put_blob(store, tmp_path / "same", "tar") == blob


def test_a_rerun_uploads_nothing(counting, tmp_path):
    """The second run asks with HEAD and sends no byte, from memory or from a file."""
    (tmp_path / "file").write_bytes(b"from a file")

    def run():
        put_blob(counting, b"from memory", "parquet")
        put_blob(counting, tmp_path / "file", "safetensors")
        return commit_to(counting)

    first = run()
    assert counting.calls["write"] == counting.calls["write_file"] == 1
    counting.calls.clear()
    assert run() == first
    assert counting.calls["write"] == counting.calls["write_file"] == counting.calls["replace"] == 0
    assert counting.calls["head"] >= 2


def test_a_blob_of_the_wrong_size_is_written_again(store):
    blob = put_blob(store, b"0123456789", "tar")
    store.write(blob.path, b"01234")
    assert put_blob(store, b"0123456789", "tar") == blob
    assert get_blob(store, blob.path) == b"0123456789"


def test_a_flipped_bit_is_found_and_the_blob_is_named(store):
    blob = put_blob(store, b"\x00" * 100, "tar")
    store.write(blob.path, b"\x00" * 50 + b"\x01" + b"\x00" * 49)
    with pytest.raises(IntegrityError) as caught:
        get_blob(store, blob.path)
    assert f"{store.uri}/{blob.path}" in str(caught.value)
    assert sha256_hex(b"\x00" * 50 + b"\x01" + b"\x00" * 49) in str(caught.value)


@pytest.mark.parametrize(
    "path", ["blobs/abc.tar", "other/" + "0" * 64 + ".tar", "blobs/" + "0" * 64, "blobs/" + "A" * 64 + ".tar"]
)
def test_only_a_blob_path_is_read_as_a_blob(store, path):
    with pytest.raises(InputError, match="blobs/<64 hex digits>"):
        get_blob(store, path)


def test_a_suffix_that_makes_no_blob_path_is_rejected_before_the_upload(counting):
    with pytest.raises(InputError, match="suffix"):
        put_blob(counting, b"1", "../x")
    assert not counting.calls["write"]


def test_a_missing_blob_is_named(store):
    with pytest.raises(NotFoundError, match="0000"):
        get_blob(store, f"blobs/{'0' * 64}.tar")


def test_create_once_accepts_equal_bytes_and_rejects_others(store):
    assert create_once(store, "m.json", b"one") is True
    assert create_once(store, "m.json", b"one") is False
    with pytest.raises(ConflictError, match=r"m\.json is written once") as caught:
        create_once(store, "m.json", b"two")
    assert sha256_hex(b"two")[:12] in str(caught.value)
    assert store.read("m.json") == b"one"


def test_a_commit_is_found_by_its_action_key(store):
    assert lookup(store, KEY) is None
    ref = commit_to(store)
    digest = root().digest
    assert ref == Ref(kind="tiles", key=KEY, digest=digest, path=f"datasets/photos/{digest}.json")
    assert lookup(store, KEY) == ref
    assert store.read(ref.path) == root().to_bytes()


def test_the_second_maker_adopts_the_first_makers_result(store):
    """Training on other hardware gives other bytes for one action; whoever commits first is right for all."""
    first = commit_to(store, "first")
    second = commit_to(store, "second")
    assert second == first
    assert store.read(second.path) == root("first").to_bytes()


def test_of_8_makers_all_return_the_same_result(store, race):
    refs = race(8, lambda i: commit_to(store, f"maker {i}"))
    assert len({ref.digest for ref in refs}) == 1
    assert lookup(store, KEY) == refs[0]


def test_no_action_record_without_its_manifest(counting):
    """A process that dies between the two writes leaves a manifest nobody names, never a name without a manifest."""
    counting.before["create"] = lambda key, _: seen.append((key, [info.key for info in counting.inner.list("")]))
    seen = []
    ref = commit_to(counting)
    assert seen == [(ref.path, []), (f"actions/{KEY}.json", [ref.path])]


def test_one_action_key_has_one_kind(store):
    commit_to(store, kind="tiles")
    with pytest.raises(IntegrityError, match="kind 'tiles', this one is 'latents'"):
        commit_to(store, "other", kind="latents")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"digest": None}, IntegrityError),
        ({"path": 3}, IntegrityError),
        ({"key": "another"}, IntegrityError),
    ],
)
def test_an_action_record_that_cannot_be_trusted_is_named(store, change, error):
    commit_to(store)
    record = json.loads(store.read(f"actions/{KEY}.json"))
    store.write(f"actions/{KEY}.json", seal({**record, **change}))
    with pytest.raises(error, match=f"actions/{KEY}.json"):
        lookup(store, KEY)


@pytest.mark.parametrize("format", [1, 3])
def test_a_record_of_another_format_is_named_with_the_way_out(store, format):
    fields = {"digest": "0" * 64, "format": format, "key": KEY, "kind": "tiles", "path": "datasets/x.json"}
    sealed = {**fields, "sha256": sha256_hex(canonical_json(fields))}
    store.write(f"actions/{KEY}.json", canonical_json(fields if format == 1 else sealed))
    with pytest.raises(VersionMismatchError, match=f"actions/{KEY}.json has format {format}.*lsr doctor"):
        lookup(store, KEY)


def test_no_flipped_bit_of_an_action_record_is_read(store):
    """Every bit of the record, one at a time: none gives a result, each is an error that names the record."""
    commit_to(store)
    whole = store.read(f"actions/{KEY}.json")
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError, match="somewhere"):
            parse_record(bytes(flipped), "somewhere")
    assert parse_record(whole, "somewhere")["key"] == KEY


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\xff\xfe"])
def test_an_action_record_that_is_no_record_is_named(store, garbage):
    store.write(f"actions/{KEY}.json", garbage)
    with pytest.raises(IntegrityError, match=f"actions/{KEY}.json must hold"):
        lookup(store, KEY)


@pytest.mark.parametrize("many", [False, True])
def test_sizes_are_told_without_reading_a_byte(counting, monkeypatch, many):
    monkeypatch.setattr(content, "LIST_FROM", 3 if many else 1000)
    there = [put_blob(counting, bytes(n), "tar").path for n in (5, 6)]
    lost = f"blobs/{'0' * 64}.tar"
    counting.calls.clear()
    assert content.sizes_of(counting, [*there, lost]) == {there[0]: 5, there[1]: 6, lost: None}
    assert counting.calls == ({"list": 1} if many else {"head": 3})
    assert content.sizes_of(counting, []) == {}


def test_a_forgotten_action_can_be_recorded_anew(store):
    commit_to(store)
    forget(store, KEY)
    forget(store, KEY)
    assert lookup(store, KEY) is None
    assert commit_to(store, "another").digest == root("another").digest
