"""The shard cache: bounded, shared, checked; what dead processes leave goes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lsr.core.errors import ConfigError, IntegrityError, NotFoundError
from lsr.core.processes import process_token
from lsr.core.settings import DEFAULT_CACHE_BYTES, load_settings
from lsr.data.ahead import Ahead
from lsr.data.batches import TileSource
from lsr.data.cache import ShardCache
from lsr.data.manifest import ShardRow
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader
from lsr.store import Store, open_store

from .conftest import COUNTS, Sets, make_set, png, sample


class Far:
    """A store elsewhere: counts downloads, and can be slow."""

    def __init__(self, inner: Store, seconds: float = 0.0) -> None:
        self._inner, self.seconds = inner, seconds
        self.downloads: list[str] = []

    @property
    def uri(self) -> str:
        return "far://store"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def download(self, key: str, path: Path) -> str:
        time.sleep(self.seconds)
        self.downloads.append(key)
        return self._inner.download(key, path)


@pytest.fixture
def far(sets: Sets) -> Any:
    return Far(sets.store)


def use(cache: ShardCache, far: Any, row: ShardRow) -> bytes:
    file = cache.open(far, row)
    try:
        return os.pread(file, 1 << 20, 0)
    finally:
        os.close(file)


def kept(cache: ShardCache) -> set[str]:
    return {path.stem for path in cache.folder.glob("*.tar")}


def test_the_ones_used_longest_ago_go(sets: Sets, far: Any, tmp_path: Path) -> None:
    a, b, c = sets.tiles.shards
    cache = ShardCache(tmp_path / "c", limit=a.bytes + max(b.bytes, c.bytes))
    for row in (a, b, a, c):
        use(cache, far, row)
        time.sleep(0.01)
    assert kept(cache) == {a.sha256, c.sha256}
    use(cache, far, a)
    assert far.downloads == [a.path, b.path, c.path]


def test_a_shard_larger_than_the_cache_can_be_read_and_stays_alone(sets: Sets, far: Any, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "c", limit=1)
    for row in sets.tiles.shards:
        assert len(use(cache, far, row)) == row.bytes
        assert kept(cache) == {row.sha256}


def test_an_open_shard_can_be_read_on_after_it_was_removed(
    sets: Sets, far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSR_CACHE_BYTES", "1")
    reader = SampleReader(far, sets.tiles, tmp_path)
    for _ in range(2):
        assert [reader.read(n)["png"] for n in range(sum(COUNTS))] == [png(n) for n in range(sum(COUNTS))]
    assert len(far.downloads) == len(COUNTS)
    assert len(list(tmp_path.glob("*.tar"))) == 1


def test_a_flipped_byte_in_the_cache_is_repaired_and_one_in_the_store_is_named(
    sets: Sets, far: Any, tmp_path: Path
) -> None:
    row = sets.tiles.shards[0]
    whole = use(ShardCache(tmp_path, limit=1 << 30), far, row)
    path = tmp_path / f"{row.sha256}.tar"
    damaged = bytearray(whole)
    damaged[700] ^= 1
    path.write_bytes(damaged)
    assert use(ShardCache(tmp_path, limit=1 << 30), far, row) == whole
    assert path.read_bytes() == whole
    sets.store.write(row.path, bytes(damaged))
    path.unlink()
    with pytest.raises(IntegrityError, match=f"far://store/{row.path} is corrupt"):
        use(ShardCache(tmp_path, limit=1 << 30), far, row)
    assert list(tmp_path.glob("*.t*")) == []
    sets.store.delete(row.path)
    with pytest.raises(NotFoundError, match=row.sha256):
        use(ShardCache(tmp_path, limit=1 << 30), far, row)


def test_what_a_dead_process_left_is_swept_and_a_living_ones_work_stays(sets: Sets, far: Any, tmp_path: Path) -> None:
    code = "from lsr.core.processes import process_token; print(process_token())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / f"{dead}-0.tmp").write_bytes(b"half a shard")
    (tmp_path / f"{process_token()}-0.tmp").write_bytes(b"in work")
    use(ShardCache(tmp_path, limit=1 << 30), far, sets.tiles.shards[0])
    assert [path.name for path in tmp_path.glob("*.tmp")] == [f"{process_token()}-0.tmp"]


def reads(arguments: tuple[str, str, list[ShardRow], int]) -> bool:
    uri, folder, rows, seed = arguments
    import random

    cache, store = ShardCache(Path(folder), limit=2 * rows[0].bytes), open_store(uri)
    rng = random.Random(seed)
    for _ in range(40):
        row = rng.choice(rows)
        file = cache.open(store, row)
        data = os.pread(file, row.bytes, 0)
        os.close(file)
        if len(data) != row.bytes or data != store.read(row.path):
            return False
    return True


def test_processes_that_crowd_each_other_out_read_right_bytes(sets: Sets, tmp_path: Path) -> None:
    rows = list(sets.tiles.shards + sets.latents.shards)
    jobs = [(sets.store.uri, str(tmp_path / "c"), rows, seed) for seed in range(3)]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(reads, jobs) == [True] * 3
    cache = ShardCache(tmp_path / "c", limit=2 * rows[0].bytes)
    (cache.folder / f"{rows[0].sha256}.tar").unlink(missing_ok=True)
    os.close(cache.open(sets.store, rows[0]))
    assert sum(path.stat().st_size for path in cache.folder.glob("*.tar")) <= cache.limit
    assert not list((tmp_path / "c").glob("*.tmp"))


def ahead_into(store: Any, cache: ShardCache) -> Ahead:
    return Ahead(lambda row: os.close(cache.open(store, row)), cache.limit)


def test_shards_come_ahead_of_their_reader_side_by_side(sets: Sets, tmp_path: Path) -> None:
    far: Any = Far(sets.store, seconds=0.2)
    cache = ShardCache(tmp_path, limit=1 << 30)
    fetcher = ahead_into(far, cache)
    start = time.monotonic()
    fetcher.want(sets.tiles.shards)
    fetcher.want(sets.tiles.shards)
    while len(far.downloads) < 3:
        time.sleep(0.01)
    fetcher.close()
    assert time.monotonic() - start < 0.55
    assert sorted(far.downloads) == sorted(row.path for row in sets.tiles.shards)


def test_downloads_wait_for_what_is_read_first_but_not_for_ever(
    sets: Sets, far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.data.ahead.HOLD_SECONDS", 30.0)
    held = ahead_into(far, ShardCache(tmp_path / "held"))
    held.want(sets.tiles.shards)
    assert held.under_way(sets.tiles.shards[0])
    held.close()
    assert far.downloads == []
    monkeypatch.setattr("lsr.data.ahead.HOLD_SECONDS", 0.01)
    alone = ahead_into(far, ShardCache(tmp_path / "alone"))
    alone.want(sets.tiles.shards)
    while len(far.downloads) < 3:
        time.sleep(0.01)
    alone.close()
    assert kept(ShardCache(tmp_path / "alone")) == {row.sha256 for row in sets.tiles.shards}


def test_the_first_batch_of_a_source_is_read_by_ranges_before_any_download(store_uri: str, tmp_path: Path) -> None:
    store = open_store(store_uri)
    tiles = make_set(store, "tiles", [[sample("a", {"png": png(1)}), sample("b", {"png": png(2)})]], {}, {})
    far: Any = Far(store)
    order = SampleOrder([2], tiles.digest, 0, 1)
    downloads_at_read: list[int] = []
    checked = threading.Event()

    def read(key: str, start: int = 0, length: int | None = None) -> bytes:
        if key.endswith(".tar"):
            # The prefetcher begins the second batch once the first is handed over; it waits until we have checked.
            if len(downloads_at_read) == 2:
                assert checked.wait(20)
            downloads_at_read.append(len(far.downloads))
        return store.read(key, start, length)

    far.read = read
    source = TileSource(SampleReader(far, tiles, tmp_path), order, 2)
    source.batch(10, 12)
    assert downloads_at_read == [0, 0]
    checked.set()
    source.close()


def test_no_more_is_fetched_ahead_than_the_cache_holds(sets: Sets, far: Any, tmp_path: Path) -> None:
    a, b, c = sets.tiles.shards
    cache = ShardCache(tmp_path, limit=a.bytes + b.bytes)
    fetcher = ahead_into(far, cache)
    fetcher.want([a, b, c])
    while len(far.downloads) < 2:
        time.sleep(0.01)
    fetcher.close()
    assert kept(cache) == {a.sha256, b.sha256}


def test_a_shard_that_fails_ahead_fails_where_it_is_read(sets: Sets, far: Any, tmp_path: Path) -> None:
    sets.store.delete(sets.tiles.shards[0].path)
    reader = SampleReader(far, sets.tiles, tmp_path)
    reader.expect([0, 1, 2])
    assert reader.read(COUNTS[0])["png"] == png(COUNTS[0])
    with pytest.raises(NotFoundError):
        reader.read(0)
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("shards")]


@pytest.mark.parametrize("lies", [False, True])
def test_a_shard_under_way_is_read_by_ranges_and_checked_when_it_is_there(
    sets: Sets, tmp_path: Path, lies: bool
) -> None:
    far: Any = Far(sets.store)
    gate = threading.Event()
    real = far._inner.download
    ranges: list[int] = []

    def download(key: str, path: Path) -> str:
        assert gate.wait(20)
        return str(real(key, path))

    def read(key: str, start: int = 0, length: int | None = None) -> bytes:
        data: bytes = sets.store.read(key, start, length)
        if not key.endswith(".tar"):
            return data
        ranges.append(len(data))
        return data[:-1] + bytes([data[-1] ^ lies])

    far.download, far.read = download, read
    reader = SampleReader(far, sets.tiles, tmp_path)
    reader.expect([0, 1])
    got = [reader.read(n)["png"] for n in (0, 3)]
    assert ranges == [len(png(0)), len(png(3))]
    assert (got == [png(0), png(3)]) is not lies
    gate.set()
    while reader._under_way(0):
        time.sleep(0.01)
    if lies:
        for again in (lambda: reader.read(1), reader.verify, reader.verify, lambda: reader.read(1)):
            with pytest.raises(
                IntegrityError, match=f"{sets.tiles.shards[0].sha256}.tar gave other bytes for 0{{16}}-0"
            ):
                again()
    else:
        reader.verify()
        assert [reader.read(n)["png"] for n in range(COUNTS[0])] == [png(n) for n in range(COUNTS[0])]
    assert len(ranges) == 2
    reader.close()


def test_what_a_batch_ahead_met_is_met_by_verifying_too(sets: Sets, tmp_path: Path) -> None:
    """Of a store whose ranges are wrong: an error that waits in a batch nobody has asked for yet saves nothing."""
    far: Any = Far(sets.store)

    def read(key: str, start: int = 0, length: int | None = None) -> bytes:
        data: bytes = sets.store.read(key, start, length)
        return data[:-1] + bytes([data[-1] ^ 1]) if key.endswith(".tar") else data

    far.read = read
    order = SampleOrder(list(COUNTS), sets.tiles.digest, 0, 3)
    reader = SampleReader(far, sets.tiles, tmp_path)
    source = TileSource(reader, order, 2)
    source.batch(0, 2)
    while len(far.downloads) < 3 or reader._under_way(0) or reader._under_way(1) or reader._under_way(2):
        time.sleep(0.01)
    with pytest.raises(IntegrityError, match="gave other bytes"):
        [source.batch(start, start + 2) for start in range(2, 12, 2)]
    for _ in range(2):
        with pytest.raises(IntegrityError, match="gave other bytes"):
            source.verify()
    source.close()


def test_a_range_beyond_a_shard_that_was_cut_short_is_named(sets: Sets, tmp_path: Path) -> None:
    far: Any = Far(sets.store, seconds=0.5)
    row = sets.tiles.shards[0]
    sets.store.write(row.path, sets.store.read(row.path)[:600])
    reader = SampleReader(far, sets.tiles, tmp_path)
    reader.expect([0])
    with pytest.raises(IntegrityError, match=f"{row.sha256}.tar ends inside 0{{16}}-0-0, at byte 600"):
        reader.read(0)
    reader.close()


def test_a_source_fetches_the_next_window_before_it_is_asked_for(store_uri: str, tmp_path: Path) -> None:
    store = open_store(store_uri)
    shards = [[sample(f"{s:02}{n}", {"png": png(10 * s + n)}) for n in range(4)] for s in range(8)]
    tiles = make_set(store, "tiles", shards, {}, {})
    far: Any = Far(store)
    order = SampleOrder([4] * 8, tiles.digest, 0, 2)
    source = TileSource(SampleReader(far, tiles, tmp_path), order, 4)
    source.batch(0, 4)
    wanted = {tiles.shards[number].path for number in order.shards_from(0)}
    deadline = time.monotonic() + 20
    while not wanted <= set(far.downloads) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert wanted <= set(far.downloads)
    assert len(wanted) == 4
    source.close()


def test_an_index_row_costs_no_download(sets: Sets, far: Any, tmp_path: Path) -> None:
    reader = SampleReader(far, sets.tiles, tmp_path)
    assert [reader.row(n).key for n in range(12)] == [f"{n:016x}-0-0" for n in range(12)]
    assert "far://store" in reader.describe(3)
    assert far.downloads == []


def test_the_limit_is_a_setting() -> None:
    assert load_settings({}).cache_bytes == DEFAULT_CACHE_BYTES
    assert load_settings({"LSR_CACHE_BYTES": "123"}).cache_bytes == 123
    for text in ("1 GB", "-1", "1e9"):
        with pytest.raises(ConfigError, match="LSR_CACHE_BYTES must be a whole number of bytes"):
            load_settings({"LSR_CACHE_BYTES": text})
