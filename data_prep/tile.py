"""Stage *tile*: one image shard -> tile shards, the training set.

A tile is cut and resized once, and stored without loss; only photos of the split `train` are cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.config import TILE_VERSION, TileConfig
from data_prep.parts import once
from data_prep.tars import Sample, pack, store_shard, tar_size, write_tar
from lsr.core.config import as_plain
from lsr.core.encoding import png
from lsr.core.pixels import decode_rgb
from lsr.data.index import IndexRow
from lsr.data.manifest import ShardRow
from lsr.data.pixels import image_of
from lsr.data.shards import read_samples
from lsr.store import Store, open_store

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class CutShard:
    """The tiles of one image shard. counts: photos cut, those without a tile, tiles below `min_detail`, tiles."""

    shards: tuple[ShardRow, ...]
    counts: Mapping[str, int]


def detail(tile: Pixels) -> float:
    """Mean |dx| + mean |dy| of uint8 [H, W, 3] in 8-bit grey levels (ITU-R 601): 0 for a flat tile."""
    grey = np.asarray(Image.fromarray(tile).convert("L"), dtype=np.int16)
    steps = (np.abs(np.diff(grey, axis=axis)) for axis in (0, 1))
    return float(sum(step.mean() if step.size else 0.0 for step in steps))


def shrink(image: Pixels, factor: int) -> Pixels:
    """uint8 [H // factor, W // factor, 3]: the mean of every whole box of factor x factor pixels."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    if factor == 1 or not height or not width:
        return image[:height, :width]
    return np.asarray(Image.fromarray(image[: height * factor, : width * factor]).reduce(factor))


def cut(image: Pixels, config: TileConfig) -> tuple[list[tuple[int, int, Pixels]], int]:
    """(y, x, tile) of the tiles kept from uint8 [H, W, 3], by position; and how many lacked detail.

    y, x: the tile's corner in pixels of the shrunken photo. What is left at the right and bottom is not used.
    """
    image = shrink(image, config.shrink)
    size, stride = config.size, config.stride
    corners = [
        (y, x) for y in range(0, image.shape[0] - size + 1, stride) for x in range(0, image.shape[1] - size + 1, stride)
    ]
    scored = [(detail(image[y : y + size, x : x + size]), y, x) for y, x in corners]
    kept = [(score, y, x) for score, y, x in scored if score >= config.min_detail]
    most = sorted(kept, key=lambda found: (-found[0], found[1], found[2]))[: config.max_per_image]
    tiles = [(y, x, image[y : y + size, x : x + size]) for y, x in sorted((y, x) for _, y, x in most)]
    return tiles, len(scored) - len(kept)


class _Counter:
    """Cuts the photos of one shard one after the other and counts."""

    def __init__(self, config: TileConfig) -> None:
        self.config = config
        self.counts = {"photos": 0, "without": 0, "flat": 0, "tiles": 0}

    def tiles(self, store: Store, row: ShardRow) -> Iterator[Sample]:
        for sample in read_samples(store, row):
            about: dict[str, Any] = json.loads(sample["json"])
            if about["split"] == "train":
                yield from self._of(sample, about, f"Sample {sample['__key__']} of {store.uri}/{row.path}")

    def _of(self, sample: Mapping[str, Any], about: Mapping[str, Any], where: str) -> Iterator[Sample]:
        members = {ext: data for ext, data in sample.items() if not ext.startswith("__")}
        image = decode_rgb(image_of(members, where), where)
        found, flat = cut(image, self.config)
        self.counts["photos"] += 1
        self.counts["without"] += not found
        self.counts["flat"] += flat
        for y, x, tile in found:
            for tail, pixels in (("", tile), ("-flip", tile[:, ::-1]))[: 1 + self.config.flips]:
                self.counts["tiles"] += 1
                key = f"{sample['__key__']}-{y}-{x}{tail}"
                side = self.config.size
                yield Sample(key, about["source"], "train", side, side, {"png": png(pixels)})


def cut_image_shard(
    store: Store, row: ShardRow, config: TileConfig
) -> tuple[list[tuple[bytes, list[IndexRow]]], dict[str, int]]:
    """The tars of one image shard's tiles with their index rows, and the counts of `CutShard`."""
    counter = _Counter(config)
    samples = list(counter.tiles(store, row))
    sizes = (tar_size(map(len, sample.members.values())) for sample in samples)
    return [write_tar(run) for run in pack(samples, sizes, config.max_shard_bytes)], counter.counts


def cut_shard_to_store(store_uri: str, row: ShardRow, config: TileConfig) -> CutShard:
    """Cut one image shard and put its tile shards into the store; remembered, so that a second call costs a look-up.

    Raises IntegrityError naming a corrupt image shard.
    """
    store = open_store(store_uri)

    def make() -> dict[str, Any]:
        tars, counts = cut_image_shard(store, row, config)
        return {"shards": [asdict(store_shard(store, *tar)) for tar in tars], "counts": counts}

    result = once(store, "tile.cut", TILE_VERSION, {"images": row.sha256}, as_plain(config), make)
    return CutShard(shards=tuple(ShardRow(**shard) for shard in result["shards"]), counts=result["counts"])
