"""Claim: shard + tile run at 0.8 or more of the rate of decoding each image once plus copying its bytes, on two cores.

Candidate: the two stages as the flow runs them, through Ray with two tasks, into a fresh store each time. Reference: a
pool of two processes that decodes every file and writes its bytes to another folder. Both are warm: starting Ray is
a fact of its own. The stages also hash every pixel, cut tiles and compress them without loss, so they are held against
a second reference too: decoding each image once and compressing its tiles, nothing else.
"""

from __future__ import annotations

import io
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import PAIRS, Measured, Target, compare
from benchmarks.images import pixels_of, turned
from benchmarks.surroundings import load
from data_prep.config import SourceConfig
from data_prep.tile import cut
from lsr.core.settings import Settings
from lsr.engine.context import Context, open_context
from lsr.engine.launch import launch
from lsr.engine.source import snapshot
from lsr.engine.table import SHARD, TILE, request_of
from lsr.recipes import load_recipe
from lsr.recipes.run import MapRun, Run
from lsr.recipes.schema import Recipe

PROCESSES = 2
CHUNK = 4
SHARD_BYTES = 4 << 20
TARGET = Target(sense="at least", limit=0.8)
CAUSE = (
    "Tiles are compressed without loss, and compressing the tiles of an image takes many times what decoding it does, "
    "so the target is out of reach for *tile* however it is run; the last figure holds the stages against that work. "
    "*shard* hashes every pixel to find duplicates: SHA-256 alone, on processors that have instructions for it, takes "
    "a fifth of the decoding of a large photo and half of that of an 800 x 600 JPEG. Faster compression (zlib "
    "level 1 is about three times faster at 192 px and no larger) was excluded: its tiles take an eighth longer to "
    "decode, and a tile is read far more often than it is written."
)


def _bring(job: tuple[str, str], check: Callable[[bytes], object]) -> None:
    source, target = job
    data = Path(source).read_bytes()
    check(data)
    Path(target).write_bytes(data)


def _decode(data: bytes) -> None:
    Image.open(io.BytesIO(data)).convert("RGB")


def _decode_and_cut(job: tuple[str, Any]) -> None:
    """What tiles cannot do without: one decoding, and every tile compressed."""
    path, config = job
    tiles, _ = cut(np.asarray(Image.open(path).convert("RGB")), config)
    for _, _, tile in tiles:
        for pixels in (tile, tile[:, ::-1])[: 1 + config.flips]:
            Image.fromarray(np.ascontiguousarray(pixels)).save(io.BytesIO(), "PNG")


_SPREAD = MapRun(tasks=PROCESSES)
RUN = Run(name="bench", shard=_SPREAD, tile=_SPREAD)


class Bench:
    """Both sides over one folder of images. stages: seconds of *shard* and *tile* of every candidate run."""

    def __init__(self, folder: Path, recipe: Recipe, pool: Pool) -> None:
        self.folder, self.recipe, self.pool = folder, recipe, pool
        self.images = sorted((folder / "images").rglob("*.jpg"))
        self.stages: list[tuple[float, float]] = []
        self._number = 0

    def _fresh(self, name: str) -> Path:
        """A folder that was never there; the one before is gone."""
        shutil.rmtree(self.folder / f"{name}-{self._number}", ignore_errors=True)
        self._number += 1
        return self.folder / f"{name}-{self._number}"

    @contextmanager
    def context(self) -> Iterator[Context]:
        """A context on a fresh store."""
        home = self._fresh("home")
        settings = Settings(home=home, store=f"file://{home / 'store'}", mlflow=f"sqlite:///{home / 'mlflow.db'}")
        with open_context(settings, RUN) as ctx:
            yield ctx
        shutil.rmtree(home, ignore_errors=True)

    def candidate(self) -> float:
        """Seconds for one image through *shard* and *tile*."""
        with self.context() as ctx:
            refs = {"snapshot": snapshot(self.recipe.source, ctx)}
            shard = launch(request_of(SHARD, self.recipe, RUN, refs), ctx)
            tile = launch(request_of(TILE, self.recipe, RUN, {"shard": shard.ref}), ctx)
        self.stages.append((shard.seconds / len(self.images), tile.seconds / len(self.images)))
        return sum(self.stages[-1])

    def reference(self) -> float:
        """Seconds for one image decoded and copied."""
        return self.copied(_decode)

    def copied(self, check: Callable[[bytes], object]) -> float:
        """Seconds for one image that is read, checked by `check` and written to a fresh folder."""
        target = self._fresh("copy")
        target.mkdir()
        jobs = [(str(path), str(target / f"{number}.jpg")) for number, path in enumerate(self.images)]
        seconds = self._mapped(partial(_bring, check=check), jobs)
        shutil.rmtree(target)
        return seconds

    def floor(self) -> float:
        """Seconds for one image decoded once and its tiles compressed."""
        return self._mapped(_decode_and_cut, [(str(path), self.recipe.tile) for path in self.images])

    def _mapped(self, function: Any, jobs: list[Any]) -> float:
        started = time.perf_counter()
        self.pool.map(function, jobs, chunksize=CHUNK)
        return (time.perf_counter() - started) / len(jobs)


def recipe_for(images: Path) -> Recipe:
    """The recipe `demo` on these images, in shards small enough that two tasks share them evenly."""
    base = load_recipe("demo")
    return replace(
        base,
        source=SourceConfig(uri=str(images), name="turned"),
        shard=replace(base.shard, holdout=0.0, max_shard_bytes=SHARD_BYTES),
    )


def _figures(bench: Bench, against: dict[str, Measured]) -> tuple[Figure, ...]:
    """The claim's own figure, what its stages make of it one by one, and the pair against the second reference."""
    shard, tile = zip(*bench.stages[-PAIRS:], strict=True)
    plain = against["copy"]
    copying = f"decoding each image once and copying its bytes in {PROCESSES} processes"
    compressing = f"decoding each image once and compressing its tiles in {PROCESSES} processes"
    both = "the two stages through Ray"
    rows: list[tuple[str, str, str, Measured, Target | None]] = [
        ("rate of shard + tile", both, copying, plain, TARGET),
        (
            "rate of shard alone",
            "the stage *shard*",
            copying,
            Measured(candidate=shard, reference=plain.reference),
            None,
        ),
        ("rate of tile alone", "the stage *tile*", copying, Measured(candidate=tile, reference=plain.reference), None),
        ("rate of shard + tile to that of its unavoidable work", both, compressing, against["tiles"], None),
    ]
    return tuple(
        Figure(title=t, candidate=c, reference=r, unit="one image", measured=m, value=m.rate(), target=target)
        for t, c, r, m, target in rows
    )


def measure(folder: Path) -> Claim:
    """Make the images below `folder`, then time the stages against both references."""
    size = turned(folder / "images")
    before = load()
    recipe = recipe_for(folder / "images")
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        bench = Bench(folder, recipe, pool)
        started = time.perf_counter()
        with bench.context() as outer:
            outer.ray()
            ray_seconds = time.perf_counter() - started
            against = {
                "tiles": compare(bench.candidate, bench.floor),
                "copy": compare(bench.candidate, bench.reference),
            }
    megapixels = pixels_of(folder / "images") / 1e6
    return Claim(
        name="shard_tile",
        claim="shard + tile run at 0.8 or more of the rate of decoding each image once plus copying its bytes.",
        figures=_figures(bench, against),
        load_before=before,
        facts={
            "images": f"{len(bench.images)}, {size / 1e6:.1f} MB, {megapixels:.1f} Mpx",
            "seconds to start Ray": round(ray_seconds, 2),
        },
        cause=CAUSE,
    )


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="lsr-bench-") as folder:
        publish(measure(Path(folder)))


if __name__ == "__main__":
    main()
