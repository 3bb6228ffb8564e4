"""A takedown request: every set, result and version with the picture is named, and deletion breaks nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.assemble import tiles_manifest
from data_prep.config import TileConfig
from data_prep.fetched import copies
from data_prep.tile import cut_shard_to_store
from lsr.core.errors import ConfigError, NotFoundError
from lsr.core.settings import Settings, load_settings
from lsr.data.manifest import load_manifest
from lsr.data.shards import index_rows
from lsr.data.verify import verify
from lsr.registry.versions import Version
from lsr.store import Store, open_store
from lsr.store.roots import Record
from lsr.tools.forget import delete, find

from .test_compare import draw, sharded

RULES = TileConfig(size=8, stride=8, max_shard_bytes=1024)


def tiled(store: Store, images: str) -> str:
    manifest = load_manifest(store, images)
    cuts = [cut_shard_to_store(store.uri, row, RULES) for row in manifest.shards]
    tiles = tiles_manifest("mine", manifest, cuts, RULES)
    path = f"{tiles.directory}/{tiles.digest}.json"
    store.write(path, tiles.to_bytes())
    return path


def record(store: Store, kind: str, parents: dict[str, str]) -> str:
    made = Record(kind=kind, parents=parents, blobs={}, made_by={})
    store.write(made.path, made.to_bytes())
    return made.path


def digest(path: str) -> str:
    return Path(path).stem


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    return load_settings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(13):
        draw(tmp_path / "raw", f"p{number}", number)
    return tmp_path / "raw"


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> list[Version]:
    """The registered versions. No run of MLflow has an image: `test_takedown` looks into a real one."""
    known: list[Version] = []
    monkeypatch.setattr("lsr.registry.versions.every_version", lambda uri: known)
    monkeypatch.setattr("lsr.tools.forget.images_of", lambda uri, keys, run_ids: [])
    return known


def test_what_is_kept_of_a_web_address_goes_with_its_picture(
    settings: Settings, folder: Path, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is kept of a second address with the same picture; not that of other pictures."""
    pictures = {f"https://h/{number}.png": (folder / f"p{number}.png").read_bytes() for number in range(3)}
    pictures["https://h/twin.png"] = pictures["https://h/1.png"]
    monkeypatch.setattr("data_prep.fetched.fetch", lambda address, limit: pictures[address])
    rows = folder.parent / "l.jsonl"
    rows.write_text("\n".join(json.dumps({"uri": uri}) for uri in pictures))
    sharded(settings, rows, fetch="one")
    store = open_store(settings.store)
    kept = {uri: copies(store, uri) for uri in pictures}
    assert [len(found) for found in kept.values()] == [1, 1, 1, 1]
    gone = {*kept["https://h/1.png"], *kept["https://h/twin.png"]}
    assert gone <= set(delete(settings, ["https://h/1.png"])["deleted"])
    assert {uri: bool(copies(store, uri)) for uri in pictures} == {
        uri: uri in ("https://h/0.png", "https://h/2.png") for uri in pictures
    }


def test_everything_with_the_picture_is_listed(settings: Settings, folder: Path, versions: list[Version]) -> None:
    store = open_store(settings.store)
    images = sharded(settings, folder)
    trained = [r for r in index_rows(store, load_manifest(store, images)) if r.split == "train"]
    tiles = tiled(store, images)
    model = record(store, "autoencoder", {"tile": digest(tiles)})
    grandchild = record(store, "decoder", {"tile": "0" * 64, "autoencoder": digest(model)})
    unrelated = record(store, "decoder", {"tile": "1" * 64})
    for number, ref in enumerate((grandchild, unrelated), start=1):
        tags = {"lsr.refs": json.dumps({"decoder": {"digest": digest(ref), "path": ref}})}
        versions.append(Version(name="sr", number=number, digest="d", files="f", tags=tags))
    (folder / trained[0].source).unlink()
    without = sharded(settings, folder)

    for name in (trained[0].source, trained[0].key, f"{trained[0].key}-0-0"):
        found = find(settings, [name])
        assert found["pictures"] == [trained[0].key]
        assert found["unknown"] == []
        assert {entry["path"] for entry in found["holds"]} == {images, tiles}
        assert all(len(entry["shards"]) == 1 for entry in found["holds"])
        assert found["lineage"] == sorted([model, grandchild])
        assert found["versions"] == ["sr/1"]
    assert without not in str(found)


def test_a_copy_is_found_under_the_name_of_the_file_that_stayed(
    settings: Settings,
    folder: Path,
    versions: list[Version],
) -> None:
    draw(folder, "z-copy", 3)
    images = sharded(settings, folder)
    found = find(settings, ["z-copy.png"])
    store = open_store(settings.store)
    row = next(r for r in index_rows(store, load_manifest(store, images)) if r.source == "p3.png")
    assert (found["pictures"], found["unknown"]) == ([row.key], [])


def test_unknown_names_are_told_apart(settings: Settings, folder: Path, versions: list[Version]) -> None:
    sharded(settings, folder)
    found = find(settings, ["p1.png", "nobody.png", "0" * 16])
    assert found["unknown"] == ["nobody.png", "0" * 16]
    assert len(found["holds"]) == 1
    with pytest.raises(NotFoundError, match="nothing was deleted"):
        delete(settings, ["nobody.png"])
    with pytest.raises(ConfigError):
        find(settings, [])


def test_deletion_takes_every_shard_with_it_and_leaves_the_next_set_whole(
    settings: Settings,
    folder: Path,
    versions: list[Version],
) -> None:
    store = open_store(settings.store)
    images = sharded(settings, folder)
    tiles = tiled(store, images)
    row = next(r for r in index_rows(store, load_manifest(store, images)) if r.split == "train")
    (folder / row.source).unlink()
    without = sharded(settings, folder)
    kept = load_manifest(store, without)
    gone = delete(settings, [row.key])["deleted"]
    assert {images, tiles} <= set(gone)
    assert find(settings, [row.key])["holds"] == []
    assert not [i.key for i in store.list("blobs/") if i.key.endswith(".tar") and row.key.encode() in store.read(i.key)]
    assert verify(store, kept) == []
