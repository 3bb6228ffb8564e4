"""One flipped byte anywhere in a data set is found and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.tars import store_shard, write_tar
from lsr.data.verify import missing, verify, verify_shard

from .conftest import Sets, make_set, png, sample


def path_of(sets: Sets, key: str) -> Path:
    return Path(sets.store.uri.removeprefix("file://")) / key


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_whole_data_set_has_no_faults(sets: Sets) -> None:
    for manifest in (sets.tiles, sets.latents):
        assert verify(sets.store, manifest) == []
        assert missing(sets.store, manifest) == []
        assert all(verify_shard(sets.store.uri, row) == [] for row in manifest.shards)


@pytest.mark.parametrize("kind", ["tar", "index", "manifest", "refusals"])
@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_flipped_byte_is_named(sets: Sets, kind: str, at: int) -> None:
    refusals = sets.tiles.shards[2].index
    manifest = replace(sets.tiles, refusals=refusals if kind == "refusals" else None)
    sets.store.write(f"{manifest.directory}/{manifest.digest}.json", manifest.to_bytes())
    row = manifest.shards[1]
    keys = {
        "tar": row.path,
        "index": row.index,
        "manifest": f"{manifest.directory}/{manifest.digest}.json",
        "refusals": refusals,
    }
    flip(path_of(sets, keys[kind]), at)
    faults = verify(sets.store, manifest)
    assert {fault.path for fault in faults} == {keys[kind]}
    assert keys[kind] in faults[0].problem
    assert len(verify_shard(sets.store.uri, row)) == (kind in ("tar", "index"))


@pytest.mark.parametrize("kind", ["tar", "index", "manifest"])
def test_a_missing_object_is_named(sets: Sets, kind: str) -> None:
    row = sets.tiles.shards[0]
    key = {"tar": row.path, "index": row.index, "manifest": f"datasets/demo/{sets.tiles.digest}.json"}[kind]
    path_of(sets, key).unlink()
    assert [fault.path for fault in verify(sets.store, sets.tiles)] == [key]
    assert missing(sets.store, sets.tiles) == ([] if kind == "manifest" else [key])


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


def index_elsewhere(sets: Sets) -> str:
    """The index of a tar with equally many samples at other places."""
    return store_shard(sets.store, *write_tar([sample(f"k{n}", {"png": png(n)}) for n in range(5)])).index


def test_a_key_in_two_shards_is_found(sets: Sets) -> None:
    shards = [[sample("a", {"png": png(1)})], [sample("a", {"png": png(2)})]]
    manifest = make_set(sets.store, "tiles", shards, {}, {})
    assert [f.problem for f in verify(sets.store, manifest)] == ["Key a occurs in an earlier shard too."]
