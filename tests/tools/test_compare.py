"""What two data sets differ in, and the printed sample order against what the training source reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.assemble import images_manifest
from data_prep.config import ShardConfig, SourceConfig
from data_prep.inspection import inspect_items
from data_prep.planning import plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import list_source, source_root
from lsr.core.canonical import sha256_hex
from lsr.core.errors import ConfigError, InputError
from lsr.core.randomness import derive_seed
from lsr.core.settings import Settings, load_settings
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader
from lsr.store import open_store
from lsr.store.actions import commit
from lsr.tools.compare import compare, order_of

RULES = ShardConfig(max_shard_bytes=1024, min_side=1)
ORDER: dict[str, Any] = {"seed": 3, "stage": "denoise", "window": 2, "batch": 8}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    return load_settings()


def sharded(settings: Settings, place: Path, fetch: str = "") -> str:
    """Manifest path of the image shards of a folder, or of a list that is fetched, a few images each."""
    source = SourceConfig(uri=f"list:{place}" if fetch else str(place), name="mine", fetch=fetch)
    listed, root = list_source(source, settings.cache), source_root(source.uri, settings.cache)
    planned = plan(inspect_items(settings.store, root, listed.items, RULES), RULES)
    rows = [build_shard_to_store(settings.store, root, images, RULES) for images in planned.shards]
    store = open_store(settings.store)
    manifest: Manifest = images_manifest(store, "mine", planned, rows, RULES)
    key = sha256_hex(manifest.to_bytes())
    return commit(store, key, manifest.record()).path


def draw(folder: Path, name: str, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(13):
        draw(tmp_path / "raw", f"p{number}", number)
    return tmp_path / "raw"


def test_what_came_and_what_went_is_named(settings: Settings, folder: Path) -> None:
    before = sharded(settings, folder)
    keys = {row.source: row.key for row in _index(settings, before)}
    (folder / "p4.png").unlink()
    draw(folder, "new", 99)
    after = sharded(settings, folder)
    found = compare(settings, before, after)
    assert found["removed"] == [keys["p4.png"]]
    assert [row.source for row in _index(settings, after) if row.key in found["added"]] == ["new.png"]
    assert (found["same"], found["changed"]) == (12, [])
    assert found["shards"]["only_before"] >= 1
    assert sum(found["splits"]["after"].values()) == 13


def test_a_set_does_not_differ_from_itself(settings: Settings, folder: Path) -> None:
    path = sharded(settings, folder)
    found = compare(settings, path, path)
    assert (found["same"], found["added"], found["removed"], found["changed"]) == (13, [], [], [])
    assert (found["shards"]["only_before"], found["shards"]["only_after"]) == (0, 0)


def test_another_split_or_name_is_a_change(settings: Settings, folder: Path) -> None:
    before = sharded(settings, folder)
    (folder / "p0.png").rename(folder / "renamed.png")
    found = compare(settings, before, sharded(settings, folder))
    assert len(found["changed"]) == 1


def test_sets_of_different_kinds_are_not_compared(settings: Settings, folder: Path) -> None:
    path = sharded(settings, folder)
    store = open_store(settings.store)
    manifest = load_manifest(store, path)
    tiles = Manifest(kind="tiles", name="mine", parents={}, made_by={}, shards=manifest.shards, counts={"samples": 13})
    other = commit(store, "b" * 64, tiles.record()).path
    with pytest.raises(InputError, match=r"found images .* and tiles"):
        compare(settings, path, other)


def _index(settings: Settings, path: str) -> list[Any]:
    store = open_store(settings.store)
    reader = SampleReader(store, load_manifest(store, path))
    return [reader.row(index) for index in range(len(reader))]


def test_the_printed_order_is_the_one_that_training_reads(settings: Settings, folder: Path) -> None:
    path = sharded(settings, folder)
    store = open_store(settings.store)
    manifest = load_manifest(store, path)
    assert len(manifest.shards) > 2, "the window must be smaller than the set"
    counts = [row.samples for row in manifest.shards]
    order = SampleOrder(counts, manifest.digest, derive_seed(ORDER["seed"], ORDER["stage"]), ORDER["window"])
    keys = [row.key for row in _index(settings, path)]
    printed = list(order_of(settings, path, world=1, rank=0, start=5, count=60, **ORDER))
    assert printed == [(position, keys[order.at(position)]) for position in range(5, 65)]


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("start", [0, 8, 19])
def test_the_ranks_of_any_world_share_out_the_same_samples(
    settings: Settings, folder: Path, world: int, start: int
) -> None:
    path = sharded(settings, folder)
    end = 64
    alone = dict(order_of(settings, path, world=1, rank=0, start=start, count=end - start, **ORDER))
    met = [
        list(order_of(settings, path, world=world, rank=rank, start=start, count=end, **ORDER)) for rank in range(world)
    ]
    shared = [pair for rank in met for pair in rank if pair[0] < end]
    assert len(shared) == len(alone)
    assert dict(shared) == alone


@pytest.mark.parametrize(("world", "rank", "says"), [(2, 2, "rank 2 of 2"), (9, 0, "9 processes and a batch of 8")])
def test_a_rank_that_cannot_be_is_rejected(settings: Settings, world: int, rank: int, says: str) -> None:
    with pytest.raises(ConfigError, match=f"found {says}"):
        list(order_of(settings, "datasets/none.json", world=world, rank=rank, start=0, count=1, **ORDER))
