"""Manifests round-trip through their root records, are named by their bytes, and reject what they cannot trust."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.data.index import IndexRow, read_index, write_index
from lsr.data.manifest import Manifest, ShardRow, load_manifest, urls
from lsr.data.whitening import Whitening
from lsr.store import open_store
from lsr.store.content import Blob

names = st.text("abcdef-_.0123456789", min_size=1, max_size=8)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def shard(digest: str, samples: int) -> ShardRow:
    return ShardRow(
        path=f"blobs/{digest}.tar",
        sha256=digest,
        bytes=10240,
        samples=samples,
        index=f"blobs/{digest}.parquet",
        index_bytes=5,
    )


rows = st.builds(shard, digests, st.integers(0, 10**6))


@st.composite
def manifests(draw) -> Manifest:
    shards = tuple(draw(st.lists(rows, max_size=4)))
    return Manifest(
        kind=draw(st.sampled_from(["images", "tiles", "latents"])),
        name=draw(names),
        parents=draw(st.dictionaries(names, digests, max_size=2)),
        made_by={"stage": "tile", "version": 1, "config": {"size": 64}},
        shards=shards,
        counts={"samples": sum(row.samples for row in shards)},
        skipped=draw(st.none() | st.just(Blob(path=f"blobs/{'e' * 64}.parquet", sha256="e" * 64, bytes=3))),
        extra=draw(st.dictionaries(names, st.floats(-1e6, 1e6), max_size=2)),
    )


@settings(max_examples=50)
@given(manifests())
def test_round_trip(manifest: Manifest) -> None:
    again = Manifest.from_bytes(manifest.to_bytes(), "here")
    assert again == manifest
    assert again.digest == manifest.digest


def example() -> Manifest:
    rows = (shard("a" * 64, 2), shard("b" * 64, 3))
    return Manifest(kind="tiles", name="demo", parents={}, made_by={}, shards=rows, counts={"samples": 5})


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_another_format_version_is_rejected(version: object) -> None:
    plain = json.loads(example().to_bytes()) | {"format": version}
    with pytest.raises(VersionMismatchError, match=r"demo\.json has format .*, this code reads 2; `lsr doctor`"):
        Manifest.from_bytes(json.dumps(plain).encode(), "demo.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"counts": {"samples": 6}}, "counts 6 samples, but its shards hold 5"),
        ({"counts": {}}, "counts None samples"),
        ({"colour": 1}, "colour"),
        ({"blobs": {"00000000.tar": {"path": 1}}}, "must have a path and a size in bytes"),
        ({"blobs": {"00000000.tar": {"path": "blobs/../x.tar", "bytes": 1}}}, "64 hex digits"),
        ({"blobs": {}}, "must name a tar and an index of shard 0"),
        ({"extra": {}}, "is the record of 'tiles', not of a data set with a name"),
        ({"extra": {"name": "demo", "samples": [2]}}, "names the blobs .*00000001.parquet"),
        ({"parents": []}, "no root record"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_rejected(change: dict[str, object], says: str) -> None:
    plain = json.loads(example().to_bytes()) | change
    with pytest.raises(IntegrityError, match=says):
        Manifest.from_bytes(json.dumps(plain).encode(), "demo.json")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b'{"format": 2}'])
def test_bytes_that_are_no_manifest_are_rejected(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="demo"):
        Manifest.from_bytes(data, "demo.json")


def test_loading_checks_the_digest_in_the_file_name(store_uri: str) -> None:
    store = open_store(store_uri)
    manifest = example()
    path = f"{manifest.directory}/{manifest.digest}.json"
    store.write(path, manifest.to_bytes())
    assert load_manifest(store, path) == manifest
    store.write(path, manifest.to_bytes().replace(b"demo", b"dema"))
    with pytest.raises(IntegrityError, match=manifest.digest):
        load_manifest(store, path)
    with pytest.raises(NotFoundError):
        load_manifest(store, "datasets/demo/none.json")


def test_urls_are_plain(store_uri: str) -> None:
    found = urls(open_store(store_uri), example())
    assert found == [f"{store_uri.removeprefix('file://')}/blobs/{c * 64}.tar" for c in "ab"]


@settings(max_examples=50)
@given(
    st.lists(
        st.builds(
            IndexRow,
            key=names,
            source=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            split=st.sampled_from(["train", "eval"]),
            width=st.integers(1, 20000),
            height=st.integers(1, 20000),
            members=st.dictionaries(names, st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=3),
        ),
        max_size=5,
    )
)
def test_an_index_round_trips_and_is_deterministic(rows: list[IndexRow]) -> None:
    data = write_index(rows)
    assert read_index(data) == rows
    assert write_index(read_index(data)) == data


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", write_index([])[:-9]])
def test_bytes_that_are_no_index_are_rejected(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="the index of shard 7 is not a shard index"):
        read_index(data, "the index of shard 7")


def test_whitening_is_named_by_its_values() -> None:
    one = Whitening(kind="channel", mean=(0.1, -0.2), std=(1.5, 2.0))
    assert Whitening.from_plain(json.loads(json.dumps(one.as_plain()))) == one
    assert one.digest != Whitening(kind="channel", mean=(0.1, -0.2), std=(1.5, 2.1)).digest
    with pytest.raises(IntegrityError, match="not whitening values"):
        Whitening.from_plain({"mean": [1]})
