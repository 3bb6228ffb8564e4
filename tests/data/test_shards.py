"""Reading shards: sequentially, at random, from a cache; damage is named and never read around."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_prep.tars import write_tar
from lsr.core.errors import InputError, IntegrityError, NotFoundError
from lsr.data.index import read_index
from lsr.data.shards import SampleReader, iter_shard, member_offsets, read_samples
from lsr.store import open_store
from lsr.store.base import Store
from lsr.store.local import LocalStore

from .conftest import COUNTS, Sets, png, sample


class FarStore(LocalStore):
    """A store whose files this machine cannot map, like S3; counts downloads."""

    downloads = 0

    @property
    def uri(self) -> str:
        return f"far://{self._root}"

    def download(self, key: str, path: Path) -> str:
        FarStore.downloads += 1
        return super().download(key, path)


@pytest.fixture
def far(sets: Sets) -> Store:
    FarStore.downloads = 0
    return FarStore(sets.store.uri.removeprefix("file://"))


def tar(count: int = 4) -> bytes:
    return write_tar([sample(f"k{n}", {"png": png(n), "json": b"{}"}) for n in range(count)])[0]


def test_samples_come_in_order_with_all_their_members() -> None:
    found = list(iter_shard(tar()))
    assert [s["__key__"] for s in found] == ["k0", "k1", "k2", "k3"]
    assert found[2] == {"__key__": "k2", "png": png(2), "json": b"{}"}


@pytest.mark.parametrize("cut", ["payload", "header", "between members", "end marker", "everything"])
def test_a_truncated_tar_is_rejected_before_its_first_sample(cut: str) -> None:
    data = tar()
    places = member_offsets(io.BytesIO(data), "x")
    offset, size = places["k2.png"]
    at = {
        "payload": offset + size // 2,
        "header": offset - 200,
        "between members": offset - 512,
        "end marker": sum(places["k3.png"]) // 512 * 512 + 512,
        "everything": 0,
    }[cut]
    with pytest.raises(IntegrityError, match="shard 7"):
        next(iter_shard(data[:at], "shard 7"))


def test_a_damaged_header_does_not_end_the_shard_early() -> None:
    data = bytearray(tar())
    data[member_offsets(io.BytesIO(data), "x")["k2.json"][0] - 512 + 20] ^= 1
    with pytest.raises(IntegrityError, match="shard 7 is cut short or damaged after 4 files"):
        list(iter_shard(bytes(data), "shard 7"))


def test_a_name_that_occurs_twice_is_rejected() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as twice:
        for _ in range(2):
            twice.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(IntegrityError, match=r"holds a\.png twice"):
        list(iter_shard(out.getvalue()))


def test_a_shard_of_a_manifest_is_checked_whole(sets: Sets) -> None:
    row = sets.tiles.shards[0]
    assert len(list(read_samples(sets.store, row))) == COUNTS[0]
    path = Path(sets.store.uri.removeprefix("file://")) / row.path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=row.sha256):
        list(read_samples(sets.store, row))


def test_any_sample_by_its_global_index(sets: Sets) -> None:
    reader = SampleReader(sets.store, sets.tiles, open_shards=1)
    assert len(reader) == sum(COUNTS)
    for n in (11, 0, 5, 4, 8, 7, 0):
        assert reader.read(n) == {"png": png(n)}
        assert reader.row(n).key == f"{n:016x}-0-0"
    for outside in (-1, 12):
        with pytest.raises(InputError, match=f"samples 0 to 11, asked for {outside}"):
            reader.read(outside)


def test_far_shards_are_downloaded_once_and_shared(sets: Sets, far: Store, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(2):
        reader = SampleReader(far, sets.tiles, cache)
        assert [reader.read(n)["png"] for n in range(12)] == [png(n) for n in range(12)]
    assert FarStore.downloads == len(COUNTS)
    assert {p.name for p in cache.glob("*.tar")} == {f"{row.sha256}.tar" for row in sets.tiles.shards}
    assert not list(cache.glob("*.part"))


def test_a_cache_that_was_damaged_or_deleted_repairs_itself(sets: Sets, far: Store, tmp_path: Path) -> None:
    reader = SampleReader(far, sets.tiles, tmp_path)
    reader.read(0)
    path = tmp_path / f"{sets.tiles.shards[0].sha256}.tar"
    path.unlink()
    reader.close()
    assert reader.read(0) == {"png": png(0)}
    path.write_bytes(b"x" * 10240)
    assert SampleReader(far, sets.tiles, tmp_path).read(0) == {"png": png(0)}


def test_ranks_of_one_machine_download_a_shard_once(sets: Sets, far: Store, tmp_path: Path) -> None:
    def rank(_: int) -> bytes:
        return SampleReader(far, sets.tiles, tmp_path).read(0)["png"]

    with ThreadPoolExecutor(8) as ranks:
        assert list(ranks.map(rank, range(8))) == [png(0)] * 8
    assert FarStore.downloads == 1


def test_the_shards_used_last_stay_open(sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        "lsr.data.shards.read_index", lambda data, where: (opened.append(where), read_index(data, where))[1]
    )
    reader = SampleReader(sets.store, sets.tiles, open_shards=2)
    first, second, third = 0, COUNTS[0], COUNTS[0] + COUNTS[1]
    for index in (first, second, first, third, first):
        reader.read(index)
    assert len(opened) == 3


def test_a_far_store_needs_a_cache(sets: Sets, far: Store) -> None:
    with pytest.raises(InputError, match="needs a cache folder"):
        SampleReader(far, sets.tiles)


@pytest.mark.parametrize("cached", [False, True])
def test_a_flipped_byte_names_the_shard(sets: Sets, far: Store, tmp_path: Path, cached: bool) -> None:
    row = sets.tiles.shards[1]
    path = Path(sets.store.uri.removeprefix("file://")) / row.path
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    reader = SampleReader(far, sets.tiles, tmp_path) if cached else SampleReader(sets.store, sets.tiles)
    assert reader.read(0) == {"png": png(0)}
    with pytest.raises(IntegrityError, match=f"{row.sha256}.tar is corrupt"):
        reader.read(COUNTS[0])
    assert not list(tmp_path.glob(f"{row.sha256}*.part"))


def test_a_missing_shard_and_a_foreign_index_are_named(sets: Sets) -> None:
    root = Path(sets.store.uri.removeprefix("file://"))
    (root / sets.tiles.shards[0].path).unlink()
    reader = SampleReader(sets.store, sets.tiles)
    with pytest.raises(NotFoundError, match=sets.tiles.shards[0].sha256):
        reader.read(0)
    (root / sets.tiles.shards[1].index).write_bytes((root / sets.tiles.shards[2].index).read_bytes())
    with pytest.raises(IntegrityError, match="sha256"):
        reader.read(COUNTS[0])


def test_plain_readers_open_our_tars(sets: Sets) -> None:
    """Anyone's WebDataset and anyone's tar can read the shards, by the addresses that `lsr data urls` prints."""
    import webdataset

    from lsr.data.manifest import urls

    addresses = urls(open_store(sets.store.uri), sets.tiles)
    found = webdataset.WebDataset(addresses, shardshuffle=False)
    assert [s["png"] for s in found] == [png(n) for n in range(12)]
    with tarfile.open(addresses[0]) as plain:
        members = plain.getmembers()
        assert [m.name for m in members] == [f"{n:016x}-0-0.png" for n in range(COUNTS[0])]
        assert {(m.mtime, m.uname, m.gname, m.uid) for m in members} == {(0, "lsr", "lsr", 0)}
