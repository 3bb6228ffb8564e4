"""What lies beside the store: files for people, cached shards and unfinished writes, also after a killed takedown."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.fetched import copies
from lsr.core.settings import Settings, load_settings
from lsr.data.cache import ShardCache, shards_in
from lsr.data.manifest import load_manifest
from lsr.data.shards import index_rows
from lsr.store import open_store
from lsr.store.attempts import claim, owner_record
from lsr.store.local import LocalStore
from lsr.tools.copies import cached_without, made_from, of_unknown_origin
from lsr.tools.forget import delete

from .test_compare import draw, sharded

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A profile whose registry knows no version and no image."""
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("lsr.registry.versions.every_version", lambda uri: [])
    monkeypatch.setattr("lsr.tools.forget.images_of", lambda uri, keys, runs: [])
    monkeypatch.setattr("lsr.tools.forget.delete_images", lambda uri, found: [])
    return load_settings()


@pytest.fixture
def images(settings: Settings, tmp_path: Path) -> str:
    """Manifest path of 13 photos, every shard of them in the cache."""
    for number in range(13):
        draw(tmp_path / "raw", f"p{number}", number)
    path = sharded(settings, tmp_path / "raw")
    fill_cache(settings, path)
    return path


def fill_cache(settings: Settings, path: str) -> None:
    store, cache = open_store(settings.store), ShardCache(shards_in(settings.cache))
    for row in load_manifest(store, path).shards:
        with open(cache.open(store, row)):
            pass


def holding(folder: Path, key: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_files_are_told_by_the_result_or_the_study_that_they_are_named_for(tmp_path: Path) -> None:
    names = [f"{ONE[:12]}-a.png", f"{ONE[:12]}-rows.json", f"{TWO[:12]}-report.html", "study/x.png", "mine.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert made_from(tmp_path, {ONE}, set()) == [tmp_path / names[0]]
    assert made_from(tmp_path, {TWO}, {"study"}) == [tmp_path / names[2], tmp_path / "study/x.png"]
    (said,) = of_unknown_origin(tmp_path, [f"evaluations/{ONE}.json", f"evaluations/{TWO}.json"])
    assert said.startswith("2 files")
    assert of_unknown_origin(tmp_path / "absent", []) == []


def test_a_cached_shard_goes_when_no_result_names_it(settings: Settings, images: str) -> None:
    blobs = {row.path for row in load_manifest(open_store(settings.store), images).shards}
    one = min(blobs)
    assert cached_without(settings.cache, blobs) == []
    assert cached_without(settings.cache, blobs - {one}) == [shards_in(settings.cache) / Path(one).name]


def test_a_takedown_killed_before_it_reached_the_cache_is_finished(
    settings: Settings, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the next one runs, neither a record nor a blob of the photo is left that could lead to the cached shard."""
    row = next(iter(index_rows(open_store(settings.store), load_manifest(open_store(settings.store), images))))
    assert holding(shards_in(settings.cache), row.key) != []

    def killed(*_: object) -> list[object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lsr.tools.forget.images_of", killed)
        with pytest.raises(KeyboardInterrupt):
            delete(settings, [row.key])
    assert holding(settings.home / "store" / "blobs", row.key) == []
    assert holding(shards_in(settings.cache), row.key) != []
    delete(settings, [row.source])
    assert holding(shards_in(settings.cache), row.key) == []


def test_copies_of_web_addresses_go_before_the_records_that_lead_to_them(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any deletion from the store, the next takedown still leaves no copy."""
    draw(tmp_path / "web", "p", 1)
    data = (tmp_path / "web" / "p.png").read_bytes()
    monkeypatch.setattr("data_prep.fetched.fetch", lambda address, limit: data)
    (tmp_path / "l.jsonl").write_text('{"uri": "https://h/p.png"}')
    path = sharded(settings, tmp_path / "l.jsonl", fetch="one")
    store = open_store(settings.store)
    key = next(iter(index_rows(store, load_manifest(store, path)))).key
    whole, kept = LocalStore.delete, copies(store, "https://h/p.png")
    assert len(kept) == 1

    def dying(self: LocalStore, name: str) -> None:
        whole(self, name)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStore, "delete", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            delete(settings, [key])
    assert copies(store, "https://h/p.png") == []
    monkeypatch.setattr(LocalStore, "delete", whole)
    delete(settings, [key])
    assert holding(settings.home / "store" / "blobs", key) == []


def test_an_unfinished_write_stays_while_any_run_works(settings: Settings, images: str) -> None:
    """A bucket does not say whose an upload is; the takedown says that it remains."""
    store = open_store(settings.store)
    left = settings.home / "store" / ".lsr-store" / "tmp" / "elsewhere-1.tmp"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    row, other, *_ = index_rows(store, load_manifest(store, images))
    lease = claim(store, "f" * 64, "tile", owner=owner_record(), ttl=3600)
    told = delete(settings, [row.key])
    assert [text for text in told["remains"] if left.name in text] != []
    assert left.exists()
    lease.release("finished")
    delete(settings, [row.key])
    assert not left.exists()
    assert other.key != row.key
