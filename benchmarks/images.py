"""Data for the benchmarks: many different photos out of the bundled ones, and sets made of them in a local store.

Sharding removes duplicates by content, so copies must differ: every photo is turned and mirrored in all eight ways
and encoded again, at one quality or several.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from data_prep.assemble import images_manifest, latents_manifest, tiles_manifest
from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from data_prep.inspection import inspect_items
from data_prep.latents import encode_shard_to_store, fit_whitening
from data_prep.planning import plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import list_source, source_root
from data_prep.tile import cut_shard_to_store
from lsr.data.manifest import Manifest
from lsr.models.config import AutoencoderConfig
from lsr.store import open_store

QUALITY = 90
ENCODER = "0" * 64
# Tiles per call of the encoder.
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Sets:
    """A tile set and the latent set made of it, in the store at `store`."""

    store: str
    tiles: Manifest
    latents: Manifest


def turned(folder: Path, ways: int = 8, quality: int = QUALITY) -> int:
    """Write the bundled photos into `folder`, each in the first `ways` (1 to 8) of its eight symmetries as JPEG of
    this quality; bytes.
    """
    folder.mkdir(parents=True)
    root = Path(source_root("set:photos", folder))
    total = 0
    for path in sorted(root.glob("*.jpg")):
        with Image.open(path) as image:
            for number, symmetry in enumerate(_symmetries(image.convert("RGB"), ways)):
                out = io.BytesIO()
                symmetry.save(out, "JPEG", quality=quality)
                total += (folder / f"{path.stem}-{number}.jpg").write_bytes(out.getvalue())
    return total


def _symmetries(image: Image.Image, ways: int) -> Iterator[Image.Image]:
    yield image
    for way in list(Image.Transpose)[: ways - 1]:
        yield image.transpose(way)


def pixels_of(folder: Path) -> int:
    """Pixels of all images below `folder`, by their headers."""
    total = 0
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as image:
            total += image.width * image.height
    return total


def make_sets(folder: Path, tile: TileConfig, latents: LatentsConfig, model: AutoencoderConfig, ways: int = 8) -> Sets:
    """Tiles and latents of the turned photos, made in this process below `folder`.

    The latents are random numbers of the shape that `model` gives: what reading costs does not depend on their values.
    """
    turned(folder / "images", ways)
    store_uri = f"file://{folder / 'store'}"
    store, shard = open_store(store_uri), ShardConfig(holdout=0.0)
    source = SourceConfig(uri=str(folder / "images"), name="photos")
    items, root = list_source(source, folder).items, source_root(source.uri, folder)
    planned = plan(inspect_items(store_uri, root, items, shard), shard)
    rows = [build_shard_to_store(store_uri, root, images, shard) for images in planned.shards]
    images = images_manifest(store, "photos", planned, rows, shard)
    tiles = tiles_manifest("photos", images, [cut_shard_to_store(store_uri, row, tile) for row in images.shards], tile)

    def encode(x: Tensor) -> tuple[Tensor, Tensor | None]:
        side = x.shape[-1] // model.factor
        return torch.randn(len(x), model.latent_channels, side, side), None

    encoded = [encode_shard_to_store(store_uri, row, encode, ENCODER, latents, BATCH) for row in tiles.shards]
    whitening = fit_whitening([found.statistics for found in encoded], latents.whitening)
    cached = latents_manifest("photos", tiles, encoded, latents, encoder=ENCODER, whitening=whitening)
    return Sets(store=store_uri, tiles=tiles, latents=cached)


def one_thread() -> None:
    """Torch on one thread, as a training worker with one CPU has it."""
    torch.set_num_threads(1)
