"""Claim: tile and latent shards are read at 0.9 or more of the rate of decoding the same bytes from memory.

Candidate: the trainer's own sources (`lsr.data.batches`) on a local store, batches taken as fast as they come.
Reference: the same members in a list, in the same order, decoded by Pillow or numpy and stacked to the same tensors, in
one thread. Both are warm; opening the shards for the first time (digest and index) is a fact of its own.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import Target, compare
from benchmarks.images import ENCODER, Sets, make_sets, one_thread
from benchmarks.surroundings import load
from data_prep.config import TileConfig
from lsr.data.batches import LatentSource, TileSource
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader
from lsr.recipes import load_recipe
from lsr.recipes.schema import Recipe
from lsr.store import open_store

TARGET = Target(sense="at least", limit=0.9)
SECONDS = 2.0
CAUSE = (
    "Handing a batch over from the prefetching thread costs about 0.1 ms. That shows beside batches of a few tiny "
    "tiles, which decode in 0.6 ms, and nowhere else; a training step takes hundreds of times as long, beside it."
)
PARTS = 2
"""Batches that a global batch is read in."""
WINDOW = 8

Decode = Callable[[list[dict[str, bytes]]], list[Tensor]]


def decode_tiles(samples: list[dict[str, bytes]]) -> list[Tensor]:
    """uint8 [b, 3, S, S] of one batch's members."""
    images = [np.asarray(Image.open(io.BytesIO(sample["png"])).convert("RGB")) for sample in samples]
    return [torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in images]))]


def decode_latents(samples: list[dict[str, bytes]]) -> list[Tensor]:
    """float32 [b, c, h, w] of every member of one batch."""
    return [
        torch.from_numpy(np.stack([np.load(io.BytesIO(sample[name])) for sample in samples])).float()
        for name in samples[0]
    ]


@dataclass(kw_only=True)
class Bench:
    """Both sides over one data set. step: the next global batch; passes continue through the endless order."""

    source: TileSource | LatentSource
    reader: SampleReader
    order: SampleOrder
    decode: Decode
    batch: int
    steps: int = 1
    step: int = 0
    cpu: dict[str, list[float]] = field(default_factory=lambda: {"source": [], "memory": []})

    def candidate(self) -> float:
        """Seconds for one sample through the source."""
        spent, started = time.process_time(), time.perf_counter()
        begin = self.step * self.batch
        for start in range(begin, begin + self.steps * self.batch, self.size):
            self.source.batch(start, start + self.size)
        taken = time.perf_counter() - started
        self.cpu["source"].append((time.process_time() - spent) / (self.steps * self.batch))
        self.step += self.steps
        return taken / (self.steps * self.batch)

    def reference(self) -> float:
        """Seconds for one sample decoded from memory."""
        first = self.step * self.batch
        positions = range(first, first + self.steps * self.batch)
        members = [self.reader.read(self.order.at(position)) for position in positions]
        batches = [members[at : at + self.size] for at in range(0, len(members), self.size)]
        spent, started = time.process_time(), time.perf_counter()
        for batch in batches:
            self.decode(batch)
        taken = time.perf_counter() - started
        self.cpu["memory"].append((time.process_time() - spent) / len(members))
        return taken / len(members)

    @property
    def size(self) -> int:
        """Samples that are read at a time; PARTS divides every global batch that is measured."""
        return self.batch // PARTS

    def choose_steps(self) -> float:
        """Choose `steps` so that a pass takes about SECONDS; seconds of the very first batch, which opens shards."""
        started = time.perf_counter()
        self.source.batch(0, self.size)
        opened = time.perf_counter() - started
        self.steps = 20
        self.steps = max(int(SECONDS / (self.candidate() * self.batch)), 1)
        return opened


def _bench(sets: Sets, kind: str, recipe: Recipe) -> Bench:
    store = open_store(sets.store)
    manifest = sets.tiles if kind == "tiles" else sets.latents
    reader = SampleReader(store, manifest)
    order = SampleOrder([row.samples for row in manifest.shards], manifest.digest, 7, WINDOW)
    if kind == "tiles":
        batch = recipe.autoencoder.train.batch
        tiles = TileSource(reader, order, batch)
        return Bench(source=tiles, reader=reader, order=order, decode=decode_tiles, batch=batch)
    batch, extra = recipe.denoise.train.batch, manifest.extra
    degradation = extra["degradations"][0]
    latents = LatentSource(
        reader, None, order, batch, encoder=ENCODER, whitening=extra["whitening"], degradation=degradation
    )
    return Bench(source=latents, reader=reader, order=order, decode=decode_latents, batch=batch)


def _figure(sets: Sets, kind: str, recipe: Recipe, side: int, facts: dict[str, float | int | str]) -> Figure:
    bench = _bench(sets, kind, recipe)
    opened = bench.choose_steps()
    measured = compare(bench.candidate, bench.reference)
    bench.source.close()
    name = f"{kind} of {side} px, batches of {bench.size}"
    facts[f"{name}: samples, and seconds to the first batch"] = f"{len(bench.reader)}, {opened:.3f}"
    spent = [statistics.median(cpu) * 1e6 for cpu in bench.cpu.values()]
    facts[f"{name}: CPU microseconds of the process for one sample"] = f"{spent[0]:.0f} against {spent[1]:.0f}"
    return Figure(
        title=f"rate of reading {name}",
        candidate="the trainer's source on a local store",
        reference="decoding the same bytes from memory into the same tensors",
        unit="one sample",
        measured=measured,
        value=measured.rate(),
        target=TARGET,
    )


def measure(folder: Path) -> Claim:
    """Make the sets below `folder` and time each at the demo's and at the published size."""
    one_thread()
    before = load()
    figures: list[Figure] = []
    facts: dict[str, float | int | str] = {}
    demo, published = load_recipe("demo"), load_recipe("div2k-x4")
    small = TileConfig(size=192, stride=192, min_detail=4.0, max_per_image=4)
    for recipe, tile, ways in ((demo, demo.tile, 4), (published, small, 4)):
        sets = make_sets(folder / recipe.name, tile, recipe.latents, recipe.autoencoder.model, ways)
        figures += [_figure(sets, kind, recipe, tile.size, facts) for kind in ("tiles", "latents")]
    return Claim(
        name="reading",
        claim="Tile and latent shards are read at 0.9 or more of the rate of decoding the same bytes from memory.",
        figures=tuple(figures),
        load_before=before,
        facts=facts,
        cause=CAUSE if any(figure.verdict.startswith("missed") for figure in figures) else "",
    )


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="lsr-bench-") as folder:
        publish(measure(Path(folder)))


if __name__ == "__main__":
    main()
