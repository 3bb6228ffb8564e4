"""Claim: *shard* takes at most 1.1 times what decoding each image once and copying its bytes takes, on two cores.

Candidate: the stage as the flow runs it, through Ray with two tasks, into a fresh store each time. Reference: a pool of
two processes that decodes every file and writes its bytes to another folder. Second reference: the same with the
digests that the stage cannot do without, of the pixels (which name an image) and of the file. So many images that
what a stage costs once does not show.
"""

from __future__ import annotations

import io
import multiprocessing
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import Measured, Target, compare
from benchmarks.images import pixels_of, turned
from benchmarks.shard_tile import PROCESSES, RUN, Bench, recipe_for
from benchmarks.surroundings import load
from data_prep.soundness import content_hash
from lsr.core.canonical import sha256_hex
from lsr.engine.launch import launch
from lsr.engine.source import snapshot
from lsr.engine.table import SHARD, request_of

QUALITIES = range(84, 92)
SHARD_BYTES = 16 << 20
TARGET = Target(sense="at most", limit=1.1)
CAUSE = (
    "An image's key, its side of the split and its duplicates follow from the SHA-256 of its pixels, which are eleven "
    "times the bytes of its file; the last figure holds the stage against a reference that takes those digests too. A "
    "faster digest would change every key and every split."
)


def _decode_and_digest(data: bytes) -> None:
    """sha256 over the file, and over its pixels as the stage takes it."""
    sha256_hex(data)
    content_hash(Image.open(io.BytesIO(data)))


class Sharding(Bench):
    """The stage *shard* alone, over one folder of images."""

    def candidate(self) -> float:
        """Seconds for one image through *shard*."""
        with self.context() as ctx:
            refs = {"snapshot": snapshot(self.recipe.source, ctx)}
            return launch(request_of(SHARD, self.recipe, RUN, refs), ctx).seconds / len(self.images)

    def floor(self) -> float:
        """Seconds for one image decoded, digested and copied."""
        return self.copied(_decode_and_digest)


def measure(folder: Path) -> Claim:
    """Make the images below `folder`, then time the stage against both references."""
    images = folder / "images"
    size = sum(turned(images / str(quality), quality=quality) for quality in QUALITIES)
    before, recipe = load(), recipe_for(images)
    recipe = replace(recipe, shard=replace(recipe.shard, max_shard_bytes=SHARD_BYTES))
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        bench = Sharding(folder, recipe, pool)
        with bench.context() as outer:
            outer.ray()
            against = [compare(bench.candidate, side) for side in (bench.reference, bench.floor)]
    titles = ("time of shard", "time of shard to that of its unavoidable work")
    others = ("decoding each image once and copying its bytes", "the same with sha256 of its pixels and of its file")
    return Claim(
        name="sharding",
        claim="shard takes at most 1.1 times what decoding each image once and copying its bytes takes.",
        figures=tuple(map(_figure, titles, others, against, (TARGET, None))),
        load_before=before,
        facts={"images": f"{len(bench.images)}, {size / 1e6:.1f} MB, {pixels_of(images) / 1e6:.1f} Mpx"},
        cause=CAUSE,
    )


def _figure(title: str, other: str, measured: Measured, target: Target | None) -> Figure:
    return Figure(
        title=title,
        candidate="the stage through Ray",
        reference=f"{other} in {PROCESSES} processes",
        unit="one image",
        measured=measured,
        value=measured.cost(),
        target=target,
    )


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="lsr-bench-") as folder:
        publish(measure(Path(folder)))


if __name__ == "__main__":
    main()
