"""Local shards are checked in the background; what is read before is right when `verify` has returned, or named."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from lsr.core.errors import IntegrityError, NotFoundError
from lsr.data.ahead import AT_ONCE, Ahead
from lsr.data.batches import LatentSource, TileSource
from lsr.data.manifest import ShardRow
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader

from .conftest import COUNTS, Sets, png

SECONDS = 20


def rows(count: int) -> list[ShardRow]:
    return [ShardRow(path=f"{n}", index="", index_bytes=0, sha256=f"{n:064}", bytes=1, samples=1) for n in range(count)]


class Slow:
    """Waits for `go`; remembers what was begun."""

    def __init__(self) -> None:
        self.go, self.began = threading.Event(), []

    def __call__(self, row: ShardRow) -> None:
        self.began.append(row.path)
        assert self.go.wait(SECONDS)


def test_shards_are_made_ready_side_by_side_and_each_once() -> None:
    ready, all_rows = Slow(), rows(AT_ONCE)
    ahead = Ahead(ready)
    for _ in range(3):
        ahead.want(all_rows)
    while len(ready.began) < AT_ONCE:
        time.sleep(0.001)
    assert all(map(ahead.under_way, all_rows))
    ready.go.set()
    ahead.close()
    assert not any(map(ahead.under_way, all_rows))
    assert sorted(ready.began) == [row.path for row in all_rows]


def test_what_is_no_longer_wanted_is_not_begun() -> None:
    ready, all_rows = Slow(), rows(AT_ONCE + 3)
    ahead = Ahead(ready)
    ahead.want(all_rows[:-1])
    ahead.want([all_rows[0], all_rows[-1]])
    ready.go.set()
    ahead.wait(all_rows[-1])
    assert not {row.path for row in all_rows[AT_ONCE:-1]} & set(ready.began)
    ahead.close()


class Gate(threading.Event):
    """begun: the digests of the shards whose checks wait here, or went through."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Checks of local shards wait for it."""
    from lsr.data import shards

    gate, check = Gate(), shards.check_file

    def waiting(path: Path, row: ShardRow, where: str) -> None:
        gate.begun.append(row.sha256)
        assert gate.wait(SECONDS)
        check(path, row, where)

    monkeypatch.setattr(shards, "check_file", waiting)
    return gate


def broken(sets: Sets, row: ShardRow, at: int) -> Path:
    path = Path(sets.store.uri.removeprefix("file://")) / row.path
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return path


def test_a_sample_is_read_before_its_shard_is_checked_and_verified_afterwards(sets: Sets, held: Gate) -> None:
    reader = SampleReader(sets.store, sets.tiles)
    reader.expect([0, 1])
    assert [reader.read(n)["png"] for n in (0, COUNTS[0])] == [png(0), png(COUNTS[0])]
    assert held.begun == []
    reader.expect([0, 1])
    while len(held.begun) < 2:
        time.sleep(0.001)
    verifying = threading.Thread(target=reader.verify)
    verifying.start()
    verifying.join(0.05)
    assert verifying.is_alive(), "it waits for the checks that are under way"
    held.set()
    verifying.join(SECONDS)
    assert len(held.begun) == 2, "each is checked once"
    assert [reader.read(n)["png"] for n in range(COUNTS[0])] == [png(n) for n in range(COUNTS[0])]
    reader.close()


@pytest.mark.parametrize("by", ["verifying", "reading on"])
def test_a_corrupt_shard_that_was_read_before_its_check_is_named(sets: Sets, held: Gate, by: str) -> None:
    broken(sets, sets.tiles.shards[0], -1)
    reader = SampleReader(sets.store, sets.tiles)
    reader.expect([0, 1])
    reader.read(0)
    held.set()
    while by == "reading on" and reader._under_way(0):
        time.sleep(0.001)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=f"{sets.tiles.shards[0].sha256}.tar is corrupt"):
            reader.verify() if by == "verifying" else reader.read(1)
    assert reader.read(COUNTS[0])["png"] == png(COUNTS[0])
    reader.close()


def test_a_shard_that_is_repaired_is_right_again_and_a_lost_one_is_named(sets: Sets) -> None:
    path = broken(sets, sets.tiles.shards[0], -1)
    reader = SampleReader(sets.store, sets.tiles)
    with pytest.raises(IntegrityError, match="is corrupt"):
        reader.read(0)
    broken(sets, sets.tiles.shards[0], -1)
    assert reader.read(0)["png"] == png(0)
    reader.close()
    path.unlink()
    again = SampleReader(sets.store, sets.tiles)
    again.expect([0])
    with pytest.raises(NotFoundError):
        again.read(0)
    again.close()


@pytest.mark.parametrize("kind", ["tiles", "latents", "tiles beside latents"])
def test_a_source_verifies_all_its_batches(sets: Sets, held: Gate, kind: str) -> None:
    """The flipped byte lies between samples, so that no decoder finds it."""
    for row in sets.latents.shards if kind == "latents" else sets.tiles.shards:
        broken(sets, row, -1)
    tiles, order = SampleReader(sets.store, sets.tiles), SampleOrder(list(COUNTS), sets.tiles.digest, 0, 2)
    source: TileSource | LatentSource = TileSource(tiles, order, 4)
    if kind != "tiles":
        latents = SampleReader(sets.store, sets.latents)
        source = LatentSource(latents, tiles, order, 4, encoder="enc", whitening="white")
    source.batch(0, 4)
    held.set()
    with pytest.raises(IntegrityError, match="is corrupt"):
        source.verify()
    source.close()
