"""Listing a source into a snapshot: any names, any place; what changed afterwards is rejected."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from data_prep.config import SourceConfig
from data_prep.items import read_item
from data_prep.sources import Snapshot, list_source, source_root
from data_prep.tars import Sample, write_tar
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import ConfigError, InputError, IntegrityError, NotFoundError, StoreError, VersionMismatchError
from lsr.store import open_store

from .conftest import items_with

TOKEN = "from lsr.core.processes import process_token; print(process_token())"
NAMES = ["a.png", "B.JPG", "deep/er/ü ber%20 #1.jpeg", "deep/写真.webp", "z e r o.tif", "deep/er/'quoted\".gif"]


def listed(uri: object, cache: Path | None = None) -> Snapshot:
    return list_source(SourceConfig(uri=str(uri), name="demo"), cache or Path("/nonexistent"))


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def test_nested_unicode_and_spaced_names_are_listed_in_order_and_read_back(folder) -> None:
    root = folder({name: name.encode() for name in NAMES})
    found = listed(root)
    assert [item.key for item in found.items] == sorted(NAMES)
    assert [read_item(str(root), item).decode() for item in found.items] == sorted(NAMES)
    again = Snapshot.from_lines(found.lines(), "here")
    assert again == found
    assert again.digest == found.digest
    assert listed(f"file://{root}/").items == found.items


def test_names_that_are_not_utf8_can_be_listed_and_read(folder) -> None:
    root = folder({"good.png": b"1"})
    (root / os.fsdecode(b"bad-\xff.png")).write_bytes(b"2")
    found = Snapshot.from_lines(listed(root).lines(), "here")
    assert [item.key for item in found.items] == ["bad-\\xff.png", "good.png"]
    assert [read_item(str(root), item) for item in found.items] == [b"2", b"1"]


def test_other_and_hidden_files_are_ignored_and_counted(folder) -> None:
    root = folder(dict.fromkeys(["a.png", "b.txt", "c.json", "d.txt", "LICENCE", "._a.png", ".cache/x.png"], b"x"))
    found = listed(root)
    assert [item.key for item in found.items] == ["a.png"]
    assert found.ignored == {"txt": 2, "json": 1, "none": 1, "hidden": 1}


def test_links_are_followed_and_loops_end(folder, tmp_path) -> None:
    root = folder({"a/x.png": b"x"})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.png").write_bytes(b"y")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "loop").symlink_to(root)
    assert [item.key for item in listed(root).items] == ["a/x.png", "link/y.png"]


@pytest.mark.parametrize(
    ("files", "says"),
    [({}, "found no files at all"), (dict.fromkeys(["a.txt", "b.txt", "c"], b""), "1 of suffix none, 2 of suffix txt")],
)
def test_a_source_without_images_is_an_error_that_counts_what_is_there(folder, tmp_path, files, says) -> None:
    (tmp_path / "raw").mkdir()
    root = folder(files)
    with pytest.raises(InputError, match=f"{root} holds no images .*{says}"):
        listed(root)


def test_a_place_that_does_not_exist_is_named(tmp_path) -> None:
    for uri in (tmp_path / "none", f"tar:{tmp_path}/none"):
        with pytest.raises(NotFoundError, match="none names no folder"):
            listed(uri)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x y"])
def test_a_name_must_be_a_folder_of_the_store(folder, name) -> None:
    root = folder({"a.png": b"x"})
    with pytest.raises(ConfigError, match="data set's name"):
        list_source(SourceConfig(uri=str(root), name=name), root)


@pytest.mark.parametrize("change", ["content", "time", "gone", "longer"])
def test_a_file_that_changed_since_it_was_listed_is_rejected(folder, change) -> None:
    root = folder({"a.png": b"12345"})
    item = listed(root).items[0]
    path = root / "a.png"
    if change == "gone":
        path.unlink()
    elif change == "time":
        os.utime(path, ns=(1, 1))
    else:
        path.write_bytes(b"54321" if change == "content" else b"123456")
        os.utime(path, ns=(7, 7))
    with pytest.raises(InputError, match=r"a\.png in .*(changed since it was listed|cannot be read any more)"):
        read_item(str(root), item)


def test_the_digest_pins_keys_sizes_and_times(folder) -> None:
    root = folder({"a.png": b"12345", "b.png": b"1"})
    first = listed(root)
    assert listed(root).digest == first.digest
    os.utime(root / "b.png", ns=(5, 5))
    assert listed(root).digest != first.digest


def test_tars_of_webdataset_are_listed_by_sample(folder) -> None:
    samples = [
        Sample(f"k{n}", "", "", 1, 1, {"jpg": bytes([n]) * 10, "json": b"{}", "seg.png": b"mask"}) for n in (0, 1)
    ]
    foreign = tar_of({"dir/a.b.png": b"only", "./plain.JPEG": b"upper", "note.txt": b"n", "no-suffix": b"n"})
    root = folder({"one.tar": write_tar(samples)[0], "sub/two.tar": foreign, "readme.md": b"x"})
    found = listed(f"tar:{root}")
    assert {item.key: read_item(str(root), item) for item in found.items} == {
        "one.tar/k0.jpg": bytes(10),
        "one.tar/k1.jpg": b"\1" * 10,
        "sub/two.tar/dir/a.b.png": b"only",
        "sub/two.tar/./plain.JPEG": b"upper",
    }
    assert found.ignored == {"md": 1}


def test_a_truncated_tar_is_named_and_not_read_short(folder) -> None:
    root = folder({"one.tar": tar_of({"a.png": b"x" * 5000, "b.png": b"y" * 5000})[:9000]})
    with pytest.raises(IntegrityError, match=r"one\.tar"):
        listed(f"tar:{root}")


def test_a_folder_without_tars_is_an_error(folder) -> None:
    with pytest.raises(InputError, match="holds no tars; found 1 of suffix png"):
        listed(f"tar:{folder({'a.png': b'x'})}")


def test_an_s3_prefix_is_listed_and_read(folder, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="raw-bucket")
        store = open_store("s3://raw-bucket/pre/fix")
        for name in NAMES:
            store.write(name, name.encode())
        store.write("set.tar", tar_of({"a.png": b"in a tar"}))
        root = source_root("s3://raw-bucket/pre/fix", Path("."))
        found = listed("s3://raw-bucket/pre/fix/")
        assert [item.key for item in found.items] == sorted(NAMES)
        assert [read_item(root, item).decode() for item in found.items] == sorted(NAMES)
        tars = listed("tar:s3://raw-bucket/pre/fix")
        assert [read_item(root, item) for item in tars.items] == [b"in a tar"]
        store.write(sorted(NAMES)[0], b"A.png")
        store.delete(sorted(NAMES)[1])
        with pytest.raises(InputError, match="changed since it was listed"):
            read_item(root, found.items[0])
        with pytest.raises(InputError, match="cannot be read any more"):
            read_item(root, found.items[1])


def test_a_packaged_set_is_pinned_by_content_alone(folder, tmp_path, monkeypatch) -> None:
    """Its snapshot, and so every action key that follows, is the same on every machine."""
    root = folder({"a.png": b"12345"})
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes(b"12345")
    os.utime(other / "a.png", ns=(1, 1))
    places = iter([root, other])
    module = types.ModuleType("lsr.assets")
    module.resolve = lambda name, cache: next(places)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lsr.assets", module)
    first, second = listed("set:demo"), listed("set:demo")
    assert first.digest == second.digest
    assert read_item(str(other), first.items[0]) == b"12345"
    (other / "a.png").write_bytes(b"1234x")
    with pytest.raises(InputError, match="changed"):
        read_item(str(other), first.items[0])


def test_a_snapshot_of_another_format_is_rejected(folder) -> None:
    head, *items = listed(folder({"a.png": b"x"})).lines()
    old = canonical_json({"format": 1, "ignored": {}, "items": [], "uri": "x"})
    for other in (head.replace(b'"format":2', b'"format":3'), old):
        with pytest.raises(VersionMismatchError, match="format 2"):
            Snapshot.from_lines([other, *items], "here")


def test_a_snapshot_that_is_cut_off_has_broken_items_or_is_none_is_rejected(folder) -> None:
    head, item = listed(folder({"a.png": b"x"})).lines()
    for rows in ([head], [head, item, item], [head, item[:-5]], [head, b"[]"], [b"[]"], [b"7"], [b""], [], [item[:9]]):
        with pytest.raises(IntegrityError, match="here is not a snapshot"):
            Snapshot.from_lines(rows, "here")
    for lost in (b'"pin"', b'"path"', b'"size"', b'"offset"'):
        with pytest.raises(IntegrityError, match="unexpected keyword argument 'other'"):
            Snapshot.from_lines([head, item.replace(lost, b'"other"')], "here")
    with pytest.raises(VersionMismatchError):
        Snapshot.from_lines([item, head], "here")


@pytest.mark.parametrize("at", [0, 40, -3])
def test_a_stored_snapshot_is_what_its_name_says_or_rejected(folder, store_uri, at) -> None:
    store, found = open_store(store_uri), listed(folder({"a.png": b"x", "b.png": b"yy"}))
    ref = found.save(store, "demo")
    assert ref.digest == found.digest
    assert ref.path == f"snapshots/demo/{found.digest}.jsonl"
    assert Snapshot.load(store, ref.path) == found
    kept = store.head(ref.path)
    assert found.save(store, "demo") == ref
    assert store.head(ref.path) == kept
    data = bytearray(store.read(ref.path))
    data[at] ^= 1
    store.write(ref.path, bytes(data))
    with pytest.raises(IntegrityError, match=ref.path):
        Snapshot.load(store, ref.path)
    store.delete(ref.path)
    with pytest.raises(NotFoundError, match=ref.path):
        Snapshot.load(store, ref.path)


def test_saving_a_snapshot_removes_what_a_killed_one_left(
    folder, store_uri, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    dead = subprocess.run([sys.executable, "-c", TOKEN], capture_output=True, text=True, check=True).stdout.strip()
    left = tmp_path / "temporary" / f"lsr-snapshot-{dead}-x"
    left.mkdir(parents=True)
    store, found = open_store(store_uri), listed(folder({"a.png": b"x"}))
    assert Snapshot.load(store, found.save(store, "demo").path) == found
    assert list((tmp_path / "temporary").iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match=r"Cannot write a temporary file below .*nowhere"):
        found.save(store, "other")


texts = st.text(st.characters(codec="utf-8"), max_size=8)
items = items_with(texts)


@given(texts, st.lists(items, max_size=4), st.dictionaries(texts, st.integers(0, 9), max_size=5))
def test_a_snapshot_is_lines_of_canonical_json_and_reads_back(uri, found, ignored) -> None:
    snapshot = Snapshot(uri=uri, items=tuple(found), ignored=ignored)
    head = {"format": 2, "uri": uri, "items": len(found), "ignored": ignored}
    assert list(snapshot.lines()) == [canonical_json(row) + b"\n" for row in (head, *(item.plain() for item in found))]
    assert snapshot.digest == sha256_hex(b"".join(snapshot.lines()))
    assert Snapshot.from_lines(snapshot.lines(), "here") == snapshot
