"""Stage *evaluate*: the trained system on frozen held-out photos, beside bicubic and a deliberately degraded copy.

The result holds every row of the measurement, so the gate is arithmetic on it, and the images for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsr.core.config import as_plain
from lsr.core.errors import InputError, NotFoundError
from lsr.core.refs import Ref
from lsr.data.manifest import load_manifest
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.rows import Evaluation
from lsr.recipes.schema import Recipe
from lsr.store import Store
from lsr.store.actions import commit
from lsr.store.attempts import Lease
from lsr.store.content import get_blob, put_blob
from lsr.store.roots import PHOTOS, Record, read_root

if TYPE_CHECKING:
    import torch

    from lsr.evaluation.images import Exhibit, Image, Perceptual, Upscaler
    from lsr.inference.executor import Executor
    from lsr.metrics.extractors import Extractor

DEGRADED = "degraded"
EXHIBITS = "exhibits"
SHOWN = 6


def upscaler_of(executor: Executor, config: EvaluateConfig) -> Upscaler:
    """The system as the protocol asks it: one latent, decoded at every size, rounded where the protocol rounds."""
    from lsr.evaluation.protocols import protocol_of

    return executor.upscaler(config.sampler, rounding=protocol_of(config).rounding)


def held_out(store: Store, images: Ref, cache: Path) -> Iterator[tuple[str, Image]]:
    """(key, RGB) of every held-out photo, sorted by key; each is decoded when it is asked for.

    cache: the cache folder of the settings. Raises InputError when no photo is held out.
    """
    from lsr.core.pixels import decode_rgb
    from lsr.data.cache import shards_in
    from lsr.data.pixels import image_of
    from lsr.data.shards import SampleReader

    manifest = load_manifest(store, images.path)
    reader = SampleReader(store, manifest, shards_in(cache))
    keys = sorted((reader.row(i).key, i) for i in range(len(reader)) if reader.row(i).split == "eval")
    if not keys:
        raise InputError(
            f"Image set {manifest.name} has {len(reader)} photos and none is held out; raise shard.holdout, "
            "change shard.holdout_salt or add photos."
        )
    with closing(reader):
        for key, index in keys:
            where = reader.describe(index)
            yield key, decode_rgb(image_of(reader.read(index), where), where)


def real_tiles(store: Store, tiles: Ref, cache: Path) -> list[Image]:
    """At most MOST_TILES tiles, spread evenly over the set, that samples are compared with."""
    from lsr.core.pixels import decode_rgb
    from lsr.data.cache import shards_in
    from lsr.data.pixels import image_of
    from lsr.data.shards import SampleReader
    from lsr.evaluation.generation import MOST_TILES

    with closing(SampleReader(store, load_manifest(store, tiles.path), shards_in(cache))) as reader:
        chosen = np.linspace(0, len(reader) - 1, min(len(reader), MOST_TILES)).astype(int).tolist()
        return [decode_rgb(image_of(reader.read(i), "tile"), reader.describe(i)) for i in chosen]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Metrics with weights, on their device. lpips: None where its weights were not fetched. dists, extractors: as far
    as config.metrics asks for them.
    """

    lpips: Perceptual | None
    dists: Perceptual | None
    extractors: dict[str, Extractor]

    @property
    def lpips_name(self) -> str:
        """Of its network, empty without one."""
        return "alex" if self.lpips else ""


def metrics_of(config: EvaluateConfig, cache: Path, device: torch.device) -> Metrics:
    """Raises NotFoundError for weights that config.metrics asks for and that are not in `cache`."""
    from lsr.inference.executor import placed
    from lsr.metrics.dists import find_dists
    from lsr.metrics.extractors import find_extractors
    from lsr.metrics.lpips import find_lpips

    lpips = find_lpips(cache)
    dists = find_dists(cache) if "dists" in config.metrics else None
    wanted = {"mobilenetv2", "vgg16"} & set(config.metrics)
    extractors = {name: network for name, network in find_extractors(cache).items() if name in wanted}
    for name, missing in (
        ("dists", "dists" in config.metrics and dists is None),
        ("extractors", wanted - {*extractors}),
    ):
        if missing:
            raise NotFoundError(
                f"evaluate.metrics asks for weights that are not in {cache}; run `lsr data get {name}` or leave them "
                "out."
            )
    return Metrics(
        lpips=placed(lpips, device) if lpips else None,
        dists=placed(dists, device) if dists else None,
        extractors={name: placed(network, device) for name, network in extractors.items()},
    )


def _measure_upscaling(
    executor: Executor, photos: Iterator[tuple[str, Image]], config: EvaluateConfig, ctx: Context
) -> tuple[Evaluation, list[Exhibit]]:
    from lsr.evaluation.controls import degraded, remembered
    from lsr.evaluation.protocol import evaluate

    exhibits: list[Exhibit] = []

    def keep(exhibit: Exhibit) -> None:
        # An exhibit can hold its whole photo: those that nobody will see go with it.
        if exhibit.crop == 0 and len(exhibits) < SHOWN * len(config.scales):
            exhibits.append(exhibit)

    ours = remembered(upscaler_of(executor, config))
    metrics = metrics_of(config, ctx.settings.cache, executor.device)
    evaluation = evaluate(
        photos,
        {"ours": ours, DEGRADED: degraded(ours, seed=config.sampler.seed)},
        config,
        lpips=metrics.lpips,
        lpips_name=metrics.lpips_name,
        dists=metrics.dists,
        extractors=metrics.extractors,
        show=keep,
        progress=ctx.progress,
    )
    return evaluation, exhibits


def _measure_samples(
    executor: Executor, tiles: Ref, config: EvaluateConfig, ctx: Context
) -> tuple[Evaluation, list[list[Image]]]:
    from lsr.evaluation.controls import corrupt
    from lsr.evaluation.generation import evaluate_samples

    real = real_tiles(ctx.store, tiles, ctx.settings.cache)
    # Square images of one seed share their latent, whatever their side.
    by_size = [executor.generate((side, side), config.samples, config.sampler) for side in config.sizes]
    samples = [[images[number] for images in by_size] for number in range(config.samples)]
    worse = [corrupt(images, seed=number) for number, images in enumerate(samples)]
    matrix = "size_matrix" in config.metrics
    extractors = metrics_of(config, ctx.settings.cache, executor.device).extractors
    controls = {DEGRADED: worse}
    return evaluate_samples(samples, real, controls=controls, extractors=extractors, matrix=matrix), samples


def make(request: Request, config: EvaluateConfig, ctx: Context, lease: Lease) -> Ref:
    """Measure and record. Raises InputError when no photo is held out."""
    from lsr.inference.executor import Executor
    from lsr.report.exhibits import pack_exhibits
    from lsr.report.sheet import contact_sheet, image_sheet
    from lsr.stages.assemble import assemble

    executor = Executor(assemble(ctx.store, request.inputs), ctx.run.executor, config.precision)
    shown: list[Exhibit] = []
    if request.task == "generation":
        evaluation, samples = _measure_samples(executor, request.inputs["tile"], config, ctx)
        images = {"samples.png": image_sheet(samples)}
    else:
        photos = held_out(ctx.store, request.inputs["shard"], ctx.settings.cache)
        evaluation, exhibits = _measure_upscaling(executor, photos, config, ctx)
        shown = _without_control(exhibits)
        images = {"before-after.png": contact_sheet(shown)}
    lease.check()
    blobs = {"rows": put_blob(ctx.store, evaluation.to_bytes(), "json")}
    blobs |= {name: put_blob(ctx.store, data, "png") for name, data in images.items()}
    if shown:
        blobs[EXHIBITS] = put_blob(ctx.store, pack_exhibits(shown), "zip")
    answered = {row.photo for row in evaluation.rows} if request.task == "super-resolution" else set()
    record = Record(
        kind="evaluation",
        parents={name: ref.digest for name, ref in request.inputs.items()},
        blobs=blobs,
        made_by={"stage": request.stage, "config": as_plain(config)},
        counts={"rows": len(evaluation.rows)},
        extra={"images": list(images), PHOTOS: sorted(answered)},
    )
    return commit(ctx.store, request.key, record)


def _without_control(exhibits: Sequence[Exhibit]) -> list[Exhibit]:
    from dataclasses import replace

    return [replace(e, outputs={n: o for n, o in e.outputs.items() if n != DEGRADED}) for e in exhibits]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What a person sees of an evaluation: mean values by scale and system, remarks, image files."""

    rows: list[dict[str, Any]]
    remarks: list[str]
    images: list[Path]


def read_evaluation(store: Store, ref: Ref) -> tuple[Evaluation, Record]:
    """The measured rows and the record that names them. `extra` of the record: `images`, the names of those blobs
    for people, and the held-out photos.
    """
    record = read_root(store, ref.path, "evaluation")
    rows = record.blobs["rows"].path
    return Evaluation.from_bytes(get_blob(store, rows), f"{store.uri}/{rows}"), record


def export(ref: Ref, ctx: Context, recipe: Recipe) -> Table:
    """The table of `ref`, its images written below the output folder unless they are there."""
    from lsr.report.tables import means, where_bicubic_wins

    evaluation, record = read_evaluation(ctx.store, ref)
    cells: dict[tuple[float, str], dict[str, Any]] = {}
    for mean in means(evaluation):
        if mean.system == DEGRADED:
            continue
        row = cells.setdefault((mean.scale, mean.system), {"scale": mean.scale, "system": mean.system})
        row[mean.metric] = mean.value
    names = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [{name: row.get(name) for name in names} for row in cells.values()]
    folder = ctx.settings.output / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in record.extra["images"]:
        path = folder / f"{ref.digest[:12]}-{name}"
        if not path.exists():
            path.write_bytes(get_blob(ctx.store, record.blobs[name].path))
        paths.append(path)
    remarks = where_bicubic_wins(evaluation) if recipe.task == "super-resolution" else []
    return Table(rows=rows, remarks=remarks, images=paths)
