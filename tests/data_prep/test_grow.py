"""Growing and shrinking a set: what stays is shared byte for byte, what is new is all that is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep.assemble import images_manifest, latents_manifest, tiles_manifest
from data_prep.config import SHARD_VERSION, LatentsConfig, ShardConfig, SourceConfig, TileConfig
from data_prep.grow import grow, load_base
from data_prep.inspection import chunks_of, inspect_items
from data_prep.latents import EncodedShard, encode_shard_to_store, fit_whitening, whitening_for
from data_prep.planning import plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import Item, list_source
from data_prep.tile import CutShard, cut_shard_to_store
from lsr.core.errors import ConfigError, InputError, NotFoundError
from lsr.data.manifest import Manifest, ShardRow
from lsr.data.shards import SampleReader, index_rows
from lsr.data.verify import verify
from lsr.store import open_store

from .conftest import encode, make_image
from .test_shard import inspected

CONFIG = ShardConfig(max_shard_bytes=60_000, holdout=0.0)
TILE = TileConfig(size=32, stride=32, max_shard_bytes=60_000)


def put(store_uri: str, manifest: Manifest) -> str:
    path = f"{manifest.directory}/{manifest.digest}.json"
    open_store(store_uri).write(path, manifest.to_bytes())
    return path


def sharded(store_uri: str, root: Path, config: ShardConfig) -> Manifest:
    """The stage as lsr.stages spells it, without Ray."""
    store = open_store(store_uri)
    items = list_source(SourceConfig(uri=str(root), name="demo"), root).items
    found = [one for part in chunks_of(items) for one in inspect_items(store_uri, str(root), part, config)]
    planned = plan(found, config)
    rows = [
        part if isinstance(part, ShardRow) else build_shard_to_store(store_uri, str(root), part, config)
        for part in grow(planned, load_base(store, config), config)
    ]
    manifest = images_manifest(store, "demo", planned, rows, config)
    put(store_uri, manifest)
    return manifest


def tiled(store_uri: str, images: Manifest) -> tuple[Manifest, list[CutShard]]:
    cuts = [cut_shard_to_store(store_uri, row, TILE) for row in images.shards]
    return tiles_manifest("demo", images, cuts, TILE), cuts


def encoded(store_uri: str, tiles: Manifest) -> list[EncodedShard]:
    def encode_tiles(x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.nn.functional.avg_pool2d(x, 4), None

    return [encode_shard_to_store(store_uri, row, encode_tiles, "e" * 64, LatentsConfig(), 32) for row in tiles.shards]


def blobs(store_uri: str) -> set[str]:
    return {info.key for info in open_store(store_uri).list("blobs/")}


def files(numbers: range, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{n:04}.png": encode(make_image(n)) for n in numbers}


@pytest.fixture
def store_and_root(store_uri, folder):
    root = folder(files(range(100)))
    first = sharded(store_uri, root, CONFIG)
    return store_uri, root, first, replace(CONFIG, base=f"{first.directory}/{first.digest}.json")


def test_one_percent_more_images_write_one_shard_and_share_the_others(store_and_root, folder) -> None:
    store_uri, root, first, growing = store_and_root
    before = blobs(store_uri)
    folder(files(range(500, 501), prefix="0000-first-"))
    grown = sharded(store_uri, root, growing)
    assert len(first.shards) > 10
    assert grown.shards[: len(first.shards)] == first.shards
    assert {r.path for r in grown.shards} - {r.path for r in first.shards} <= blobs(store_uri) - before
    assert len(blobs(store_uri) - before) == 2
    assert grown.parents["base"] == first.digest
    assert grown.samples == 101
    assert verify(open_store(store_uri), grown) == []


def test_a_second_growth_reads_only_new_images(store_and_root, folder, monkeypatch) -> None:
    store_uri, root, _, growing = store_and_root
    folder(files(range(500, 502), prefix="new-"))
    read: list[str] = []
    from data_prep.items import read_item

    def counted(where: str, item: Item) -> bytes:
        read.append(item.key)
        return read_item(where, item)

    for module in ("inspection", "shard"):
        monkeypatch.setattr(f"data_prep.{module}.read_item", counted)
    sharded(store_uri, root, growing)
    assert len(set(read)) < 40
    assert {"new-0500.png", "new-0501.png"} <= set(read)


def test_a_removed_image_leaves_only_the_shards_tiles_and_latents_that_held_it(store_and_root) -> None:
    store_uri, root, first, growing = store_and_root
    store = open_store(store_uri)
    gone = next(row for row in index_rows(store, first) if row.source == "0042.png")
    tiles, _ = tiled(store_uri, first)
    latents = encoded(store_uri, tiles)
    before = blobs(store_uri)
    (root / "0042.png").unlink()
    second = sharded(store_uri, root, growing)
    assert len(set(second.shards) ^ set(first.shards)) == 2
    assert gone.key not in {row.key for row in index_rows(store, second)}
    fewer, _ = tiled(store_uri, second)
    assert len(set(fewer.shards) ^ set(tiles.shards)) == 2
    after = encoded(store_uri, fewer)
    assert len({found.shard for found in after} ^ {found.shard for found in latents}) == 2
    assert len(blobs(store_uri) - before) == 6
    keys = [row.key for manifest in (second, fewer) for row in index_rows(store, manifest)]
    assert not [key for key in keys if key.startswith(gone.key)]


def test_growing_gives_the_same_bytes_again_and_all_samples(store_and_root, tmp_path, folder) -> None:
    store_uri, root, first, growing = store_and_root
    (root / "0003.png").unlink()
    (root / "0050.png").write_bytes(encode(make_image(777)))
    folder(files(range(600, 620), prefix="new/"))
    grown = sharded(store_uri, root, growing)
    # Another store that holds nothing but the base.
    other = f"file://{tmp_path}/other"
    assert sharded_base(other, store_uri, first) == first.digest
    assert sharded(other, root, growing) == grown
    whole = sharded(f"file://{tmp_path}/anew", root, CONFIG)
    readers = [SampleReader(open_store(u), m) for u, m in ((store_uri, grown), (f"file://{tmp_path}/anew", whole))]
    contents = [sorted((r.row(i).key, r.read(i)["png"]) for i in range(len(r))) for r in readers]
    assert contents[0] == contents[1]
    assert grown.counts == whole.counts


def sharded_base(other: str, store_uri: str, first: Manifest) -> str:
    source, target = open_store(store_uri), open_store(other)
    for row in first.shards:
        for path in (row.path, row.index):
            target.write(path, source.read(path))
    put(other, first)
    return first.digest


def test_nothing_new_writes_nothing(store_and_root) -> None:
    store_uri, root, first, growing = store_and_root
    before = blobs(store_uri)
    assert sharded(store_uri, root, growing).shards == first.shards
    assert blobs(store_uri) == before


def test_an_image_that_changes_sides_is_rewritten(store_and_root) -> None:
    store_uri, root, first, growing = store_and_root
    moved = sharded(store_uri, root, replace(growing, holdout=1.0))
    assert not set(moved.shards) & set(first.shards)
    assert {row.split for row in index_rows(open_store(store_uri), moved)} == {"eval"}


def test_a_base_must_be_image_shards(store_and_root) -> None:
    store_uri, root, first, growing = store_and_root
    tiles, _ = tiled(store_uri, first)
    named = rf"shard\.base must name image shards of version {SHARD_VERSION}, .* holds tiles"
    with pytest.raises(InputError, match=named):
        sharded(store_uri, root, replace(CONFIG, base=put(store_uri, tiles)))
    with pytest.raises(NotFoundError):
        sharded(store_uri, root, replace(CONFIG, base=f"datasets/demo/{'0' * 64}.json"))
    assert "manifest path" in " ".join(replace(CONFIG, base="latest").faults())
    assert growing.faults() == []


def test_latents_of_a_grown_set_take_over_the_whitening(store_and_root) -> None:
    store_uri, _, first, _ = store_and_root
    store = open_store(store_uri)
    tiles, _ = tiled(store_uri, first)
    found = encoded(store_uri, tiles)
    statistics = [one.statistics for one in found]
    config = LatentsConfig()
    fitted = whitening_for(store, "e" * 64, config, statistics)
    assert fitted == fit_whitening(statistics, "channel")
    manifest = latents_manifest("demo", tiles, found, config, encoder="e" * 64, whitening=fitted)
    growing = replace(config, base=put(store_uri, manifest))
    assert whitening_for(store, "e" * 64, growing, statistics[:1]) == fitted != fit_whitening(statistics[:1], "channel")
    grown = latents_manifest("demo", tiles, found, growing, encoder="e" * 64, whitening=fitted)
    assert grown.parents["base"] == manifest.digest
    with pytest.raises(InputError, match=r"leave latents\.base empty"):
        whitening_for(store, "d" * 64, growing, statistics)
    with pytest.raises(InputError, match=r"leave latents\.base empty"):
        whitening_for(store, "e" * 64, replace(growing, whitening="std"), statistics)


names = st.lists(st.integers(0, 400), unique=True, min_size=1)


@given(names, st.integers(0, 400))
def test_one_name_more_changes_one_run_or_two(numbers, extra) -> None:
    def runs(of: set[int]) -> list[tuple[str, ...]]:
        items = [Item(f"{n:03}.png", 1, "mtime_ns:1", f"{n:03}.png") for n in sorted(of)]
        found = [tuple(item.key for item in run) for run in chunks_of(items)]
        assert [key for run in found for key in run] == [item.key for item in items]
        return found

    before, after = runs(set(numbers)), runs({*numbers, extra})
    assert len(set(after) - set(before)) <= 2


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60), min_size=1))
def test_a_grown_plan_holds_exactly_what_is_wanted(olds, news) -> None:
    from data_prep.tars import Sample, write_tar
    from lsr.core.canonical import sha256_hex

    config = ShardConfig(max_shard_bytes=8000)

    def planned(numbers: set[int]):
        return plan([inspected(f"{n:03}.png", sha256_hex(bytes([n]))) for n in numbers], config)

    base = []
    for number, images in enumerate(planned(olds).shards):
        samples = [
            Sample(i.key, i.found.item.key, i.split, 64, 48, {n: bytes(s) for n, s in i.sizes.items()}) for i in images
        ]
        _, index = write_tar(samples)
        base.append(
            (ShardRow(path="", sha256=str(number), bytes=0, samples=len(index), index="", index_bytes=0), index)
        )
    grown = grow(planned(news), base, config)
    keys = {row.sha256: {found.key for found in index} for row, index in base}
    found = [k for part in grown for k in (keys[part.sha256] if isinstance(part, ShardRow) else [i.key for i in part])]
    assert sorted(found) == sorted(image.key for shard in planned(news).shards for image in shard)
    untouched = [sha for sha, held in keys.items() if held <= set(found)]
    assert [part.sha256 for part in grown if isinstance(part, ShardRow)] == untouched


def test_the_config_rejects_what_is_no_manifest() -> None:
    from lsr.core.config import from_plain

    assert from_plain(ShardConfig, {"base": ""}) == ShardConfig()
    assert LatentsConfig(base="x").faults()
    with pytest.raises(ConfigError):
        from_plain(ShardConfig, {"base": 3})
    for wrong in ({"near_duplicates": 11}, {"max_file_bytes": 0}):
        with pytest.raises(ConfigError, match="must be"):
            from_plain(ShardConfig, wrong)
