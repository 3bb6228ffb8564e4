"""A takedown request: every set, result and version with the image is named, and deletion breaks nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.assemble import tiles_manifest
from data_prep.config import TileConfig
from data_prep.fetched import copies
from data_prep.tile import cut_shard_to_store
from lsr.core.errors import ConfigError, ConflictError, InputError, IntegrityError, NotFoundError
from lsr.core.refs import Ref
from lsr.core.settings import Settings, load_settings
from lsr.data.manifest import load_manifest
from lsr.data.shards import index_rows
from lsr.data.verify import verify
from lsr.registry.versions import Version
from lsr.store import Store, open_store
from lsr.store.attempts import claim, owner_record
from lsr.store.records import seal
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
    known: list[Version] = []
    monkeypatch.setattr("lsr.registry.versions.every_version", lambda uri: known)
    return known


def test_what_is_kept_of_a_web_address_goes_with_its_image(
    settings: Settings, folder: Path, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is kept of a second address with the same image; not that of other images."""
    images = {f"https://h/{number}.png": (folder / f"p{number}.png").read_bytes() for number in range(3)}
    images["https://h/copy.png"] = images["https://h/1.png"]
    monkeypatch.setattr("data_prep.fetched.fetch", lambda address, limit: images[address])
    rows = folder.parent / "l.jsonl"
    rows.write_text("\n".join(json.dumps({"uri": uri}) for uri in images))
    sharded(settings, rows, fetch="one")
    store = open_store(settings.store)
    kept = {uri: copies(store, uri) for uri in images}
    assert [len(found) for found in kept.values()] == [1, 1, 1, 1]
    gone = {*kept["https://h/1.png"], *kept["https://h/copy.png"]}
    assert gone <= set(delete(settings, ["https://h/1.png"])["deleted"])
    assert {uri: bool(copies(store, uri)) for uri in images} == {
        uri: uri in ("https://h/0.png", "https://h/2.png") for uri in images
    }


def test_everything_with_the_image_is_listed(settings: Settings, folder: Path, versions: list[Version]) -> None:
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
        assert found["photos"] == [trained[0].key]
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
    assert (found["photos"], found["unknown"]) == ([row.key], [])


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


def in_tars(store: Store, key: str) -> list[str]:
    """Tar blobs with members of a photo."""
    return [i.key for i in store.list("blobs/") if i.key.endswith(".tar") and key.encode() in store.read(i.key)]


def test_a_second_photo_is_found_in_blobs_that_no_manifest_names(
    settings: Settings, folder: Path, versions: list[Version]
) -> None:
    """The first takedown removes the only sets; the other shards lie there without a manifest."""
    store = open_store(settings.store)
    images = sharded(settings, folder)
    tiled(store, images)
    rows = [row for row in index_rows(store, load_manifest(store, images)) if row.split == "train"]
    first, second = rows[0], rows[-1]
    assert not set(in_tars(store, first.key)) & set(in_tars(store, second.key))
    delete(settings, [first.source])
    assert list(store.list("datasets/")) == []
    assert len(in_tars(store, second.key)) == 2
    for name in (second.source, second.key):
        found = find(settings, [name])
        assert (found["photos"], found["unknown"], found["holds"]) == ([second.key], [], [])
        assert set(in_tars(store, second.key)) <= set(found["orphans"])
    gone = delete(settings, [second.source])["deleted"]
    assert in_tars(store, second.key) == []
    assert {Path(path).suffix for path in gone} >= {".tar", ".parquet"}
    assert find(settings, [second.source])["unknown"] == []


def test_a_name_that_two_photos_have_is_a_question(
    settings: Settings, tmp_path: Path, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(settings.store)
    for name, seed in (("one", 1), ("two", 2)):
        draw(tmp_path / name, "0001", seed)
    one, two = (sharded(settings, tmp_path / name) for name in ("one", "two"))
    keys = {path: next(iter(index_rows(store, load_manifest(store, path)))).key for path in (one, two)}
    for ask in (find, delete):
        with pytest.raises(InputError, match=r"0001\.png names 2 different photos") as caught:
            ask(settings, ["0001.png"])
        assert all(text in str(caught.value) for text in (one, two, *keys.values(), "--in"))
    assert find(settings, ["0001.png"], within=two)["photos"] == [keys[two]]
    with pytest.raises(InputError, match="2 different photos"):
        find(settings, ["0001.png"], within="mine")
    assert find(settings, ["0001.png"], within="other")["unknown"] == ["0001.png"]
    deleted = delete(settings, ["0001.png"], within=two)["deleted"]
    assert (two in deleted, one in deleted) == (True, False)
    assert verify(store, load_manifest(store, one)) == []
    deleted = delete(settings, [keys[one]])["deleted"]
    assert one in deleted


def test_while_a_run_works_with_the_photo_nothing_is_deleted(
    settings: Settings, folder: Path, versions: list[Version]
) -> None:
    store = open_store(settings.store)
    images = sharded(settings, folder)
    row = next(iter(index_rows(store, load_manifest(store, images))))
    key, ref = "c" * 64, Ref(kind="images", key="k", digest=digest(images), path=images)
    request = {"key": key, "inputs": {"shard": ref.as_dict()}, "stage": "tile", "name": "mine"}
    store.write(f"runs/{key}/request.json", seal(request))
    lease = claim(store, key, "tile", owner=owner_record(), ttl=3600)
    with pytest.raises(ConflictError, match=r"c{12}.*nothing was deleted"):
        delete(settings, [row.key])
    assert verify(store, load_manifest(store, images)) == []
    lease.release("finished")
    assert images in delete(settings, [row.key])["deleted"]


def test_a_changed_takedown_record_is_rejected(settings: Settings, folder: Path, versions: list[Version]) -> None:
    store = open_store(settings.store)
    images = sharded(settings, folder)
    row = next(iter(index_rows(store, load_manifest(store, images))))
    delete(settings, [row.key])
    (kept,) = (info.key for info in store.list("takedowns/"))
    assert row.source.encode() not in store.read(kept)
    store.write(kept, store.read(kept).replace(row.key.encode(), b"0" * 16))
    with pytest.raises(IntegrityError, match=kept):
        find(settings, [row.key])
