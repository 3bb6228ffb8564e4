"""What every store promises, checked on each kind of store."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsr.core.errors import ConfigError, ConflictError, InputError, NotFoundError
from lsr.store import open_store
from lsr.store.base import check_key

ODD_KEYS = [
    "a b/c d.txt",
    "ünï/日本語/😀.json",
    "plus+percent%20/and&amp;.x",
    "tilde~/(paren)/'q'",
    "dots/.hidden/..twice",
    "x" * 255,
]


def test_an_object_reads_back_whole_and_by_range(store):
    """A range behaves as a slice does: shorter at the end, empty behind it."""
    data = bytes(range(256)) * 3
    store.write("a/b.bin", data)
    assert store.read("a/b.bin") == data
    for start, length in [(0, 10), (5, 7), (760, 8), (760, 100), (767, None), (768, None), (768, 5), (2000, 3), (9, 0)]:
        stop = None if length is None else start + length
        assert store.read("a/b.bin", start, length) == data[start:stop], (start, length)


def test_an_empty_object_is_an_object(store):
    store.write("empty", b"")
    assert store.read("empty") == b"" == store.read("empty", 0, 5)
    assert store.head("empty").size == 0


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1)])
def test_a_negative_range_is_rejected(store, start, length):
    store.write("a", b"123")
    with pytest.raises(InputError, match="start"):
        store.read("a", start, length)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_work_everywhere(store, key):
    assert store.create(key, b"one")
    assert not store.create(key, b"two")
    info = store.head(key)
    assert (info.key, info.size) == (key, 3)
    store.replace(key, b"three", info.etag)
    assert store.read(key, 1, 2) == b"hr"
    assert [found.key for found in store.list("")] == [key]
    store.delete(key)
    assert store.head(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a\n",
        "a\x00b",
        "\ud800",
        ".lsr-store/x",
        "y" * 256,
        "z/" * 600 + "z",
    ],
)
def test_a_key_that_could_escape_or_that_some_store_cannot_hold_is_rejected(store, key):
    for call in (store.read, store.head, store.delete, lambda k: store.write(k, b""), lambda k: store.create(k, b"")):
        with pytest.raises(InputError, match="key"):
            call(key)


@given(key=st.text(min_size=1, max_size=40))
def test_an_accepted_key_stays_below_its_folder(key):
    try:
        check_key(key)
    except InputError:
        return
    path = Path("/root/of/store") / key
    assert path.is_relative_to("/root/of/store")
    assert ".." not in path.parts
    assert str(path) == f"/root/of/store/{key}"


def test_a_missing_object_is_named_with_its_store(store):
    for call in (store.read, lambda key: store.read(key, 3, 4), lambda key: store.read(key, 0, 0)):
        with pytest.raises(NotFoundError, match=r"runs/none\.json") as caught:
            call("runs/none.json")
        assert store.uri in str(caught.value)
    assert store.head("runs/none.json") is None


def test_the_folder_of_an_object_is_no_object(store):
    store.write("a/b", b"1")
    assert store.head("a") is None
    with pytest.raises(NotFoundError):
        store.read("a")


def test_delete_is_idempotent(store):
    store.write("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert list(store.list("")) == []


def test_list_is_sorted_paginated_and_takes_any_prefix(store):
    """36 keys are 6 pages of 7 and less; the order is that of the whole keys, whatever the folders are."""
    keys = [f"d/{i:02d}.json" for i in range(30)] + ["d.x", "d/a/1", "d/a.b", "d/a-b", "e/1", "é"]
    for key in reversed(keys):
        store.write(key, key.encode())
    found = list(store.list(""))
    assert [info.key for info in found] == sorted(keys)
    assert [info.size for info in found] == [len(key.encode()) for key in sorted(keys)]
    for prefix in ("d/", "d", "d/1", "d/a", "d/a/", "e/1", "e/12", "nothing/here/", "d/00.json/"):
        assert [i.key for i in store.list(prefix)] == sorted(k for k in keys if k.startswith(prefix)), prefix
    assert next(iter(store.list("d/07"))).etag == store.head("d/07.json").etag


def test_list_does_not_leave_the_store(store):
    for prefix in ("../", "/", "a/../../"):
        with pytest.raises(InputError):
            list(store.list(prefix))


def test_create_has_exactly_one_winner_among_16_threads(store, race):
    results = race(16, lambda i: store.create("promotions/m/1.json", f"maker {i}".encode()))
    assert sorted(results) == [False] * 15 + [True]
    assert store.read("promotions/m/1.json") == f"maker {results.index(True)}".encode()


def test_replace_has_exactly_one_winner_among_16_threads(store, race):
    etag = store.write("pointer", b"start")
    results = race(16, lambda i: store.replace("pointer", f"value {i:02d}".encode(), etag))
    winners = [i for i, result in enumerate(results) if isinstance(result, str)]
    assert len(winners) == 1
    assert all(isinstance(result, ConflictError) for i, result in enumerate(results) if i != winners[0])
    assert store.read("pointer") == f"value {winners[0]:02d}".encode()
    assert store.head("pointer").etag == results[winners[0]]


def test_no_update_is_lost_when_threads_count_together(store, race):
    """Each thread adds 1 five times by compare-and-swap; the values have equal length, so that size proves nothing."""
    store.write("count", b"000")

    def add(_: int) -> None:
        done = 0
        for _ in range(200):
            info = store.head("count")
            value = int(store.read("count"))
            try:
                store.replace("count", f"{value + 1:03d}".encode(), info.etag)
            except ConflictError:
                continue
            done += 1
            if done == 5:
                return

    assert race(4, add) == [None] * 4
    assert store.read("count") == b"020"


def test_replace_needs_the_current_etag(store):
    first = store.write("p", b"one")
    second = store.write("p", b"two")
    assert first != second
    with pytest.raises(ConflictError, match=r"/p was changed or deleted"):
        store.replace("p", b"three", first)
    third = store.replace("p", b"three", second)
    store.delete("p")
    with pytest.raises(ConflictError, match=r"/p was changed or deleted"):
        store.replace("p", b"four", third)
    assert store.head("p") is None


def test_files_go_in_and_out_whole(store, tmp_path, monkeypatch):
    """17 MiB are four parts of 5 MiB at S3."""
    monkeypatch.setenv("LSR_S3_PART_BYTES", str(5 * 2**20))
    store = open_store(store.uri)
    data = bytes(range(251)) * (17 * 2**20 // 251)
    (tmp_path / "in").write_bytes(data)
    store.write_file("blobs/large.bin", tmp_path / "in")
    assert store.head("blobs/large.bin").size == len(data)
    assert store.read("blobs/large.bin", 10 * 2**20, 1000) == data[10 * 2**20 :][:1000]
    digest = store.download("blobs/large.bin", tmp_path / "new folder/out")
    assert digest == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "new folder/out").read_bytes() == data
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["out"]


def test_a_failed_download_leaves_the_old_file_alone(store, tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NotFoundError, match="absent"):
        store.download("absent", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


def test_two_handles_see_the_same_store(store):
    store.write("x/y", b"1")
    again = open_store(store.uri)
    assert again.uri == store.uri
    assert again.read("x/y") == b"1"


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=300), start=st.integers(0, 320), length=st.none() | st.integers(0, 320))
def test_a_range_is_a_slice(store, data, start, length):
    store.write("slice", data)
    assert store.read("slice", start, length) == data[start : None if length is None else start + length]


@pytest.mark.parametrize(
    "uri", ["", "/tmp/x", "file://relative", "file://", "s3://", "s3:///prefix", "gs://b/p", "http://x"]
)
def test_an_address_of_another_kind_is_rejected(uri):
    with pytest.raises(ConfigError, match="file:///absolute"):
        open_store(uri)


def test_a_touch_makes_an_object_young_and_leaves_its_bytes(store):
    store.write("a/b", b"bytes")
    first = store.head("a/b")
    assert [info.modified for info in store.list("a/")] == pytest.approx([first.modified], abs=1)
    assert abs(first.modified - time.time()) < 60
    time.sleep(1.1)
    store.touch("a/b")
    assert store.head("a/b").modified > first.modified
    assert store.read("a/b") == b"bytes"
    store.touch("a/absent")
    assert store.head("a/absent") is None


def test_only_an_old_object_is_deleted_by_age(store):
    store.write("a/b", b"bytes")
    written = store.head("a/b").modified
    assert not store.delete_old("a/b", written)
    assert not store.delete_old("a/absent", written + 60)
    assert store.read("a/b") == b"bytes"
    assert store.delete_old("a/b", written + 60)
    assert store.head("a/b") is None
