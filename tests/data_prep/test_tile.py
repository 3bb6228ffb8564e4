"""Image shards to tile shards: cut once, without loss, only from training photos, the same bytes every time."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.assemble import tiles_manifest
from data_prep.config import ShardConfig, TileConfig
from data_prep.tile import cut, cut_image_shard, cut_shard_to_store, detail, shrink
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import InputError, IntegrityError
from lsr.data.manifest import Manifest
from lsr.data.shards import SampleReader
from lsr.data.verify import verify
from lsr.store import open_store

from .conftest import encode, make_image
from .test_shard import make

ALL = ShardConfig(holdout=0.0)


def tiles_of(store_uri: str, images: Manifest, config: TileConfig) -> Manifest:
    cuts = [cut_shard_to_store(store_uri, row, config) for row in images.shards]
    manifest = tiles_manifest("demo", images, cuts, config)
    open_store(store_uri).write(f"{manifest.directory}/{manifest.digest}.json", manifest.to_bytes())
    return manifest


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


@pytest.fixture
def photos() -> dict[str, np.ndarray]:
    return {f"{n}.png": make_image(n, 70 + n, 100) for n in range(8)}


def test_every_tile_is_exactly_its_part_of_the_photo(store_uri, folder, photos) -> None:
    images, _ = make(store_uri, folder({n: encode(p) for n, p in photos.items()}), ALL)
    manifest = tiles_of(store_uri, images, TileConfig(size=32, stride=20))
    reader = SampleReader(open_store(store_uri), manifest)
    assert len(reader) == (2 * 2 + 6 * 3) * 4
    assert len({reader.row(i).key for i in range(len(reader))}) == len(reader)
    for i in range(len(reader)):
        row = reader.row(i)
        _, y, x = row.key.split("-")
        whole = photos[row.source]
        assert np.array_equal(pixels(reader.read(i)["png"]), whole[int(y) : int(y) + 32, int(x) : int(x) + 32])
        assert (row.split, row.width, row.height) == ("train", 32, 32)
    assert verify(open_store(store_uri), manifest) == []
    assert manifest.parents == {"images": images.digest}


def test_held_out_photos_are_never_cut(store_uri, folder, photos) -> None:
    images, _ = make(store_uri, folder({n: encode(p) for n, p in photos.items()}), ShardConfig(holdout=0.4))
    store = open_store(store_uri)
    reader = SampleReader(store, images)
    held = {reader.row(i).source for i in range(len(reader)) if reader.row(i).split == "eval"}
    assert 0 < len(held) < len(photos)
    manifest = tiles_of(store_uri, images, TileConfig(size=32, stride=32))
    tiles = SampleReader(store, manifest)
    assert {tiles.row(i).source for i in range(len(tiles))} == set(photos) - held
    assert manifest.counts["photos"] == len(photos) - len(held)


@settings(max_examples=60)
@given(
    st.integers(8, 40),
    st.integers(8, 40),
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(1, 3),
    st.none() | st.integers(1, 5),
    st.floats(0, 60),
)
def test_cutting_follows_its_rules(height, width, size, stride, factor, most, least) -> None:
    config = TileConfig(size=size, stride=stride, shrink=factor, max_per_image=most, min_detail=least)
    image = make_image(3, height, width)
    tiles, flat = cut(image, config)
    small = shrink(image, factor)
    grid = [
        (y, x)
        for y in range(0, height // factor, stride)
        for x in range(0, width // factor, stride)
        if y + size <= height // factor and x + size <= width // factor
    ]
    scores = {(y, x): detail(small[y : y + size, x : x + size]) for y, x in grid}
    assert flat == sum(score < least for score in scores.values())
    kept = [(y, x) for y, x, _ in tiles]
    assert kept == sorted(kept)
    assert len(kept) == min(len(grid) - flat, most or len(grid))
    others = [score for place, score in scores.items() if place not in kept and score >= least]
    assert all(scores[place] >= max(others, default=0) for place in kept)
    for y, x, tile in tiles:
        assert np.array_equal(tile, small[y : y + size, x : x + size])


def test_detail_is_the_mean_gradient_of_grey_levels() -> None:
    assert detail(np.full((9, 9, 3), 77, np.uint8)) == 0
    steps = np.repeat((np.arange(9) * 3).astype(np.uint8)[None, :, None], 9, axis=0).repeat(3, axis=2)
    assert detail(steps) == 3
    assert detail(steps.transpose(1, 0, 2)) == 3
    assert detail(steps + steps.transpose(1, 0, 2)) == 6


def test_shrinking_takes_the_mean_of_whole_boxes() -> None:
    image = make_image(1, 31, 47)
    found = shrink(image, 4)
    boxes = image[:28, :44].reshape(7, 4, 11, 4, 3).astype(float).mean(axis=(1, 3))
    assert found.shape == (7, 11, 3)
    assert np.abs(found - boxes).max() <= 0.5 + 1e-9
    assert shrink(image, 40).size == 0


def test_flips_mirror_every_tile(store_uri, folder) -> None:
    images, _ = make(store_uri, folder({"a.png": encode(make_image(1, 64, 64))}), ALL)
    manifest = tiles_of(store_uri, images, TileConfig(size=32, stride=32, flips=True))
    reader = SampleReader(open_store(store_uri), manifest)
    found = {reader.row(i).key: pixels(reader.read(i)["png"]) for i in range(len(reader))}
    assert len(found) == 8
    for key, tile in found.items():
        if not key.endswith("-flip"):
            assert np.array_equal(found[f"{key}-flip"], tile[:, ::-1])


def test_tiles_of_one_photo_shard_are_packed_into_several_shards(store_uri, folder, photos) -> None:
    images, _ = make(store_uri, folder({n: encode(p) for n, p in photos.items()}), ALL)
    manifest = tiles_of(store_uri, images, TileConfig(size=16, stride=16, max_shard_bytes=10_000))
    assert len(manifest.shards) > 5
    assert all(row.bytes <= 20_480 for row in manifest.shards)


def test_no_tile_at_all_is_an_error_that_says_why(store_uri, folder) -> None:
    images, _ = make(store_uri, folder({"a.png": encode(make_image(1))}), ALL)
    with pytest.raises(InputError, match="No tile of 256 pixels was cut from 1 training photos shrunk by 2"):
        tiles_of(store_uri, images, TileConfig(size=256, shrink=2))
    with pytest.raises(InputError, match="2 were below min_detail = 500"):
        tiles_of(store_uri, images, TileConfig(size=32, stride=32, min_detail=500.0))


def test_a_corrupt_image_shard_is_named(store_uri, folder) -> None:
    images, _ = make(store_uri, folder({"a.png": encode(make_image(1))}), ALL)
    store, row = open_store(store_uri), images.shards[0]
    data = bytearray(store.read(row.path))
    data[2000] ^= 1
    store.write(row.path, bytes(data))
    with pytest.raises(IntegrityError, match=row.sha256):
        cut_shard_to_store(store_uri, row, TileConfig(size=32))


def test_tile_shards_are_the_same_bytes_in_another_process(store_uri, folder, photos) -> None:
    images, _ = make(store_uri, folder({n: encode(p) for n, p in photos.items()}), ALL)
    row, config = images.shards[0], TileConfig(size=32, stride=32, flips=True)
    here = [sha256_hex(tar) for tar, _ in cut_image_shard(open_store(store_uri), row, config)[0]]
    code = (
        "import sys, json; from data_prep.tile import *; from lsr.core.canonical import sha256_hex;"
        "uri, row = sys.argv[1], ShardRow(**json.loads(sys.argv[2]));"
        "config = TileConfig(size=32, stride=32, flips=True);"
        "print(*[sha256_hex(tar) for tar, _ in cut_image_shard(open_store(uri), row, config)[0]])"
    )
    arguments = [sys.executable, "-c", code, store_uri, canonical_json(asdict(row)).decode()]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split() == here


def test_tiles_do_not_change_without_a_new_version(store_uri, folder) -> None:
    """Golden keys and pixels (PNG bytes depend on the codec's version): if this fails on purpose, raise
    data_prep.tile.VERSION and the stage's version with it."""
    files = {
        f"{n}.ppm": encode(
            np.outer(np.arange(80), np.arange(3 * 90)).reshape(80, 90, 3).astype(np.uint8) // (n + 1), "PPM"
        )
        for n in range(2)
    }
    images, _ = make(store_uri, folder(files), ALL)
    config = TileConfig(size=16, stride=12, shrink=2, min_detail=2.0, max_per_image=3, flips=True)
    manifest = tiles_of(store_uri, images, config)
    reader = SampleReader(open_store(store_uri), manifest)
    found = [[reader.row(i).key, sha256_hex(pixels(reader.read(i)["png"]).tobytes())] for i in range(len(reader))]
    assert len(found) == 12
    assert sha256_hex(canonical_json(found)) == "5bb7c2d24bf34c3dbc5a6a69d370aaaef9f3fe03a339eb4af14c029052683c97"


def test_cutting_again_costs_a_look_up(store_uri, folder, monkeypatch) -> None:
    images, _ = make(store_uri, folder({"a.png": encode(make_image(1))}), ALL)
    first = tiles_of(store_uri, images, TileConfig(size=32, stride=32))

    def never(*_: object) -> None:
        raise AssertionError("cut again")

    monkeypatch.setattr("data_prep.tile.cut", never)
    assert tiles_of(store_uri, images, TileConfig(size=32, stride=32)) == first
    with pytest.raises(AssertionError, match="cut again"):
        tiles_of(store_uri, images, TileConfig(size=16, stride=32))
