"""One flipped byte anywhere in a data set is found and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_prep.tars import store_shard, write_tar
from lsr.core.errors import IntegrityError
from lsr.data.manifest import load_manifest
from lsr.data.shards import SampleReader, index_of
from lsr.data.verify import Journal, verify
from lsr.store import Store
from lsr.store.content import blob_named
from lsr.store.roots import lost_blobs

from .conftest import COUNTS, Sets, make_set, png, sample


def path_of(sets: Sets, key: str) -> Path:
    return Path(sets.store.uri.removeprefix("file://")) / key


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_whole_data_set_has_no_faults(sets: Sets) -> None:
    for manifest in (sets.tiles, sets.latents):
        assert verify(sets.store, manifest) == []
        assert lost_blobs(sets.store, manifest.record()) == []


@pytest.mark.parametrize("kind", ["tar", "index", "manifest", "skipped"])
@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_flipped_byte_is_named(sets: Sets, kind: str, at: int) -> None:
    other = sets.tiles.shards[2]
    skipped = other.index
    blob = blob_named(other.index, other.index_bytes, "test")
    manifest = replace(sets.tiles, skipped=blob if kind == "skipped" else None)
    sets.store.write(f"{manifest.directory}/{manifest.digest}.json", manifest.to_bytes())
    row = manifest.shards[1]
    keys = {
        "tar": row.path,
        "index": row.index,
        "manifest": f"{manifest.directory}/{manifest.digest}.json",
        "skipped": skipped,
    }
    flip(path_of(sets, keys[kind]), at)
    faults = verify(sets.store, manifest)
    assert {fault.path for fault in faults} == {keys[kind]}
    assert keys[kind] in faults[0].problem


@pytest.mark.parametrize("kind", ["tar", "index", "manifest"])
def test_a_flipped_byte_of_latents_is_named_and_not_read(sets: Sets, kind: str) -> None:
    row = sets.latents.shards[1]
    manifest = f"{sets.latents.directory}/{sets.latents.digest}.json"
    key = {"tar": row.path, "index": row.index, "manifest": manifest}[kind]
    # In the tar, the last byte of a latent's numbers: no decoder would notice.
    offset, size = next(iter(index_of(sets.store, row)[0].members.values()))
    flip(path_of(sets, key), offset + size - 1 if kind == "tar" else 60)
    assert [fault.path for fault in verify(sets.store, sets.latents)] == [key]
    with pytest.raises(IntegrityError, match=key.rsplit("/", 1)[-1].partition(".")[0]):
        SampleReader(sets.store, load_manifest(sets.store, manifest)).read(COUNTS[0])


@pytest.mark.parametrize("kind", ["tar", "index", "manifest"])
def test_a_missing_object_is_named(sets: Sets, kind: str) -> None:
    row = sets.tiles.shards[0]
    key = {"tar": row.path, "index": row.index, "manifest": f"datasets/demo/{sets.tiles.digest}.json"}[kind]
    path_of(sets, key).unlink()
    assert [fault.path for fault in verify(sets.store, sets.tiles)] == [key]
    assert lost_blobs(sets.store, sets.tiles.record()) == ([] if kind == "manifest" else [key])


def test_several_faults_are_all_reported(sets: Sets) -> None:
    flip(path_of(sets, sets.tiles.shards[0].path), 700)
    path_of(sets, sets.tiles.shards[2].path).unlink()
    assert [f.path for f in verify(sets.store, sets.tiles)] == [sets.tiles.shards[i].path for i in (0, 2)]


def test_a_manifest_that_tells_other_numbers_is_found_out(sets: Sets) -> None:
    def faults(**change: object) -> list[str]:
        rows = (replace(sets.tiles.shards[0], **change), *sets.tiles.shards[1:])
        return [f.problem for f in verify(sets.store, replace(sets.tiles, shards=rows)) if "blobs/" in f.path]

    assert "its manifest says 7" in faults(bytes=7)[0]
    assert "the manifest says 6 samples" in faults(samples=6)[0]
    assert "does not describe the members" in faults(index=index_elsewhere(sets))[0]


class Slow:
    """A store that counts what is read, and can be interrupted."""

    def __init__(self, inner: Store, stop_after: int | None = None) -> None:
        self._inner, self._stop = inner, stop_after
        self.tars: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if key.endswith(".tar"):
            if self._stop is not None and len(self.tars) >= self._stop:
                raise KeyboardInterrupt
            self.tars.append(key)
        return self._inner.read(key, start, length)


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_find_the_same_faults_in_the_same_order(sets: Sets, threads: int) -> None:
    for number in (0, 2):
        flip(path_of(sets, sets.tiles.shards[number].path), 700)
    calls: list[None] = []
    faults = verify(sets.store, sets.tiles, threads=threads, advance=lambda: calls.append(None))
    assert [f.path for f in faults] == [sets.tiles.shards[i].path for i in (0, 2)]
    assert len(calls) == 3


def test_an_interrupted_verification_continues(sets: Sets, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first: Any = Slow(sets.store, stop_after=2)
    journal = Journal(path, resume=False)
    with pytest.raises(KeyboardInterrupt):
        verify(first, sets.tiles, journal=journal)
    with open(path, "ab") as file:
        file.write(b'\n[["blobs/cut sh')
    rest: Any = Slow(sets.store)
    journal = Journal(path, resume=True)
    assert verify(rest, sets.tiles, journal=journal) == []
    assert rest.tars == [sets.tiles.shards[2].path]
    journal.finish()
    assert not path.exists()
    anew: Any = Slow(sets.store)
    assert verify(anew, sets.tiles, journal=Journal(path, resume=True)) == []
    assert len(anew.tars) == 3


def test_a_shard_that_changed_since_is_read_again(sets: Sets, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, resume=False)
    assert verify(sets.store, sets.tiles, journal=journal) == []
    row = sets.tiles.shards[1]
    damaged = bytearray(sets.store.read(row.path))
    damaged[700] ^= 1
    sets.store.write(row.path, bytes(damaged))
    reader: Any = Slow(sets.store)
    assert [f.path for f in verify(reader, sets.tiles, journal=Journal(path, resume=True))] == [row.path]
    assert reader.tars == [row.path]
    fresh: Any = Slow(sets.store)
    verify(fresh, sets.tiles, journal=Journal(path, resume=False))
    assert len(fresh.tars) == 3


def test_a_resumed_verification_still_finds_a_key_in_two_shards(sets: Sets, tmp_path: Path) -> None:
    shards = [[sample("a", {"png": png(1)})], [sample("a", {"png": png(2)})]]
    manifest = make_set(sets.store, "tiles", shards, {}, {})
    for resume in (False, True):
        journal = Journal(tmp_path / "j", resume)
        assert [f.problem for f in verify(sets.store, manifest, journal=journal)] == [
            "Key a occurs in an earlier shard too."
        ]


def index_elsewhere(sets: Sets) -> str:
    """The index of a tar with equally many samples at other places."""
    return store_shard(sets.store, *write_tar([sample(f"k{n}", {"png": png(n)}) for n in range(5)])).index


def test_a_key_in_two_shards_is_found(sets: Sets) -> None:
    shards = [[sample("a", {"png": png(1)})], [sample("a", {"png": png(2)})]]
    manifest = make_set(sets.store, "tiles", shards, {}, {})
    assert [f.problem for f in verify(sets.store, manifest)] == ["Key a occurs in an earlier shard too."]
