"""Lists of addresses, captions and labels: where they come from and that they end up in the shards."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from data_prep.config import ShardConfig, SourceConfig
from data_prep.inspection import inspect_item
from data_prep.items import Item, read_item
from data_prep.ranged import RangedFile
from data_prep.sources import Snapshot, list_source, source_root
from lsr.core.canonical import sha256_hex
from lsr.core.errors import InputError, NotFoundError
from lsr.data.shards import SampleReader, iter_shard
from lsr.store import Store, open_store
from lsr.store.content import get_blob
from lsr.store.s3 import S3Store

from .conftest import encode, make_image
from .test_shard import make, skipped
from .test_sources import listed, tar_of

ROWS: list[dict[str, Any]] = [
    {"uri": "deep/ü ber #1.png", "caption": 'a "quoted", comma\nand a line', "label": 7},
    {"uri": "plain.jpg", "caption": None, "label": 3},
    {"uri": "no-suffix", "caption": "猫", "label": None},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """The same rows in the format that the name asks for."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{**row, "other": b"x"} for row in rows]), path)
    else:
        import csv

        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return f"list:{path}"


@pytest.fixture
def root(folder) -> Path:
    return folder({row["uri"]: encode(make_image(n)) for n, row in enumerate(ROWS)} | {"not listed.png": b"x"})


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_three_formats_name_the_same_images(root: Path, name: str) -> None:
    found = listed(write(root / name, ROWS))
    assert [(i.key, i.caption, i.label) for i in found.items] == sorted(
        (row["uri"], row["caption"], None if row["label"] is None else str(row["label"])) for row in ROWS
    )
    assert [read_item(str(root), item) for item in found.items] == [
        (root / item.key).read_bytes() for item in found.items
    ]
    again = Snapshot.from_lines(found.lines(), "here")
    assert (again, again.digest) == (found, found.digest)


def test_captions_and_labels_are_members_and_counted(root: Path, store_uri: str, tmp_path: Path) -> None:
    from data_prep.assemble import images_manifest
    from data_prep.inspection import inspect_items
    from data_prep.planning import plan
    from data_prep.shard import build_shard_to_store

    config = ShardConfig()
    uri = write(root / "l.jsonl", ROWS)
    items, base = listed(uri).items, source_root(uri, tmp_path)
    planned = plan(inspect_items(store_uri, base, items, config), config)
    rows = [build_shard_to_store(store_uri, base, images, config) for images in planned.shards]
    manifest = images_manifest(open_store(store_uri), "demo", planned, rows, config)
    assert (manifest.counts["captions"], manifest.counts["labels"]) == (2, 2)
    reader = SampleReader(open_store(store_uri), manifest)
    said = {reader.row(i).source: reader.read(i) for i in range(len(reader))}
    for row in ROWS:
        members = said[row["uri"]]
        assert members.get("txt") == (None if row["caption"] is None else row["caption"].encode())
        assert members.get("cls") == (None if row["label"] is None else str(row["label"]).encode())
    (shard,) = [get_blob(open_store(store_uri), row.path) for row in manifest.shards]
    assert {sample.get("cls") for sample in iter_shard(shard)} == {b"7", b"3", None}


def test_a_source_without_captions_says_nothing_of_them(root: Path, store_uri: str) -> None:
    for name in ("deep/ü ber #1.png", "plain.jpg"):
        assert (root / name).exists()
    manifest, _ = make(store_uri, root)
    assert not {"captions", "labels", "near_duplicates"} & manifest.counts.keys()
    assert b'"caption"' not in b"".join(listed(root).lines())


def test_addresses_may_be_absolute_repeated_or_lead_nowhere(root: Path, tmp_path: Path) -> None:
    (tmp_path / "else where").mkdir()
    away = tmp_path / "else where" / "x%20.png"
    away.write_bytes(b"away")
    uris = [str(away), f"file://{away}", "../else where/x%20.png", "plain.jpg", "plain.jpg", "gone.png", "deep"]
    uri = write(root / "l.csv", [{"uri": u} for u in uris])
    found = listed(uri)
    base = source_root(uri, tmp_path)
    by_key = {item.key: item for item in found.items}
    assert found.ignored == {"repeated": 1}
    assert [read_item(base, by_key[u]) for u in uris[:3]] == [b"away"] * 3
    gone = inspect_item(base, by_key["gone.png"], ShardConfig())
    assert gone.reason == "The list names it, and it is not there."
    assert inspect_item(base, by_key["deep"], ShardConfig()).reason == gone.reason


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("l.csv", "url,caption\na,b\n", "must have a column uri, found url, caption"),
        ("l.csv", "", "must have a column uri, found none"),
        ("l.csv", "uri\n\n", "found no files at all"),
        ("l.csv", "uri,label\n,3\n", "Row 1 of .* holds no text in its column uri"),
        ("l.jsonl", '{"uri": "a.png"}\n[1]\n', "Row 2 of .* holds no text"),
        ("l.jsonl", '{"uri": 3}', "Row 1 of .* found 3"),
        ("l.jsonl", "{", "not a readable .jsonl file"),
        ("l.jsonl", '{"uri": "https://example.com/a.png"}', "Row 1 .*only where source.fetch names the fetch"),
        ("l.jsonl", '{"uri": "ftp://example.com/a.png"}', "Row 1 .*Fetch what lies elsewhere first"),
        ("l.jsonl", '{"uri": "s3://bucket-only"}', "Row 1 of .* an address is a path"),
        ("l.parquet", "uri", "not a readable .parquet file"),
        ("l.txt", "uri\na.png", "is a .csv, .jsonl or .parquet file"),
    ],
)
def test_a_list_that_cannot_be_read_is_named_with_its_row(root: Path, name: str, text: str, says: str) -> None:
    (root / name).write_text(text)
    with pytest.raises(InputError, match=says):
        listed(f"list:{root / name}")


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.csv names no file"):
        listed(f"list:{tmp_path}/none.csv")


def test_a_file_too_large_is_rejected_unread(root: Path) -> None:
    os.truncate(root / "plain.jpg", 1 << 40)
    (item,) = [item for item in listed(root).items if item.key == "plain.jpg"]
    found = inspect_item(str(root), item, ShardConfig())
    assert found.reason == "It has 1099511627776 bytes, above max_file_bytes = 1073741824."


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """list-bucket."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="list-bucket")
        yield open_store("s3://list-bucket")


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_a_list_in_a_bucket_is_read_by_ranges_and_never_from_two_versions(
    bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("data_prep.ranged.WINDOW", 2048)
    rows = [{"uri": f"{n:04}.png", "label": sha256_hex(bytes([n % 256, n // 256]))} for n in range(400)]
    write(tmp_path / name, rows)
    bucket.write(name, (tmp_path / name).read_bytes())
    found, read, ranges = listed(f"list:s3://list-bucket/{name}"), S3Store.read, []
    assert [(item.key, item.label) for item in found.items] == [(row["uri"], row["label"]) for row in rows]

    def replacing(self: S3Store, key: str, start: int = 0, length: int | None = None) -> bytes:
        data = read(self, key, start, length)
        ranges.append(len(data))
        bucket.write(key, read(self, key) + b" ")
        return data

    monkeypatch.setattr(S3Store, "read", replacing)
    with pytest.raises(InputError, match=f"{name} changed while it was read"):
        listed(f"list:s3://list-bucket/{name}")
    assert max(ranges) <= 2048
    assert len(ranges) > 10


def test_lists_and_tars_in_a_bucket(bucket: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uris = ["in/ü 1.png", "s3://list-bucket/out/%20.png", "in/gone.png"]
    bucket.write("lists/in/ü 1.png", b"one")
    bucket.write("out/%20.png", b"two")
    bucket.write("lists/l.jsonl", "\n".join(json.dumps({"uri": u, "label": "x"}) for u in uris).encode())
    found = listed("list:s3://list-bucket/lists/l.jsonl")
    root = source_root("list:s3://list-bucket/lists/l.jsonl", tmp_path)
    by_key = {item.key: item for item in found.items}
    assert [read_item(root, by_key[u]) for u in uris[:2]] == [b"one", b"two"]
    assert by_key[uris[2]].pin == "absent"
    (tmp_path / "here.jsonl").write_text(json.dumps({"uri": uris[1]}))
    (item,) = listed(f"list:{tmp_path}/here.jsonl").items
    assert read_item(str(tmp_path), item) == b"two"
    bucket.write("lists/bad.jsonl", b'{"uri": "../up.png"}')
    with pytest.raises(InputError, match=r"Row 1 of .*'\.\.' parts"):
        listed("list:s3://list-bucket/lists/bad.jsonl")
    tar = {"a.png": b"p" * 3000, "a.txt": "ä cat".encode(), "a.cls": b"4", "b.png": b"q" * 100_000, "c.txt": b"-"}
    bucket.write("tars/one.tar", tar_of(tar))
    monkeypatch.setattr("data_prep.ranged.WINDOW", 2048)
    items = list_source(SourceConfig(uri="tar:s3://list-bucket/tars", name="t"), tmp_path).items
    assert [(i.key, i.caption, i.label) for i in items] == [
        ("one.tar/a.png", "ä cat", "4"),
        ("one.tar/b.png", None, None),
    ]
    assert [read_item("s3://list-bucket/tars", item) for item in items] == [tar["a.png"], tar["b.png"]]


def test_a_text_that_is_none_is_no_caption(folder) -> None:
    root = folder({"t.tar": tar_of({"a.png": b"p", "a.txt": b"\xff\xfe", "a.cls": b"x" * 70_000})})
    (item,) = listed(f"tar:{root}").items
    assert (item.caption, item.label) == (None, None)


@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 120)), max_size=8))
def test_ranges_read_like_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes, reads: Any) -> None:
    store = open_store(f"file://{tmp_path_factory.mktemp('ranged')}")
    store.write("object", data + b"what came later")
    ranged, plain = io.BufferedReader(RangedFile(store, "object", len(data), window=50), 16), io.BytesIO(data)
    for place, size in reads:
        assert (ranged.seek(place), ranged.read(size)) == (plain.seek(place), plain.read(size))
    assert (ranged.seek(-min(3, len(data)), io.SEEK_END), ranged.read()) == (max(0, len(data) - 3), data[-3:])


def test_an_item_says_only_what_is_known() -> None:
    assert Item("k", 1, "p", "k").plain() == {"key": "k", "size": 1, "pin": "p", "path": "k", "offset": None}
    assert Item("k", 1, "p", "k", 3, "c", "l").plain()["caption"] == "c"


def test_rejected_rows_are_accounted_for(root: Path, store_uri: str, tmp_path: Path) -> None:
    from data_prep.assemble import images_manifest
    from data_prep.inspection import inspect_items
    from data_prep.planning import plan
    from data_prep.shard import build_shard_to_store

    config = ShardConfig()
    uri = write(root / "l.csv", [{"uri": "plain.jpg"}, {"uri": "gone.jpg"}])
    base = source_root(uri, tmp_path)
    planned = plan(inspect_items(store_uri, base, listed(uri).items, config), config)
    rows = [build_shard_to_store(store_uri, base, images, config) for images in planned.shards]
    manifest = images_manifest(open_store(store_uri), "demo", planned, rows, config)
    assert [(row["source"], row["kind"]) for row in skipped(store_uri, manifest)] == [("gone.jpg", "rejected")]
