"""Stage *infer*: a registered version over a set of images.

An alias is resolved once, to a version number and a digest, and only those travel on: a promotion in the middle of a
job cannot mix two models. The images themselves are made by `make`, which the launcher runs here or as a Ray job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.canonical import action_key, canonical_json
from lsr.core.config import as_plain
from lsr.core.errors import ConfigError, InputError, IntegrityError, RunFailedError
from lsr.core.refs import Ref
from lsr.core.settings import cache_of_worker
from lsr.data.manifest import Manifest, ShardRow, load_manifest
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.request import Request
from lsr.engine.source import snapshot
from lsr.engine.table import INFER, SHARD, InferJob, request_of
from lsr.inference.config import ExecutorConfig
from lsr.inference.request import Image, Target
from lsr.recipes.schema import SCHEMA, InferConfig, Recipe
from lsr.registry.load import load_version, versions_in
from lsr.stages.register import model_name
from lsr.store import Store, open_store
from lsr.store.actions import commit
from lsr.store.attempts import Lease
from lsr.store.content import get_blob, put_blob

if TYPE_CHECKING:
    from lsr.inference.executor import Executor
    from lsr.registry.versions import Version

SHOWN = 2
REASONS_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Inferred:
    """One batch inference. counts: `files` of the source, of which `inputs` were asked for; inputs = samples + failed.
    images: a few outputs, written for people.
    """

    model: str
    path: str
    counts: dict[str, int]
    images: list[Path]
    made: bool

    @property
    def text(self) -> str:
        verb, counts = "made" if self.made else "reused", self.counts
        double, unread = counts["duplicates"], counts["rejected"]
        return (
            f"infer: {verb} {self.path} with {self.model}: {counts['inputs']} in, {counts['samples']} out, "
            f"{counts['failed']} failed"
            + (f"; of {counts['files']} files {double} are duplicates and {unread} rejected" if double + unread else "")
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "path": self.path,
            "counts": self.counts,
            "images": [str(p) for p in self.images],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """One file without an output. kind: `failed`, `duplicate` or `rejected`."""

    source: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The outputs of one image shard, and its images without one."""

    shard: ShardRow | None
    inputs: int
    failed: tuple[Missing, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Input:
    key: str
    source: str
    image: Image


def _open(uri: str, version: Version, shared: str | None, config: InferConfig, run: ExecutorConfig) -> Executor:
    """The version on its device. Raises InputError for a request that it cannot answer, whatever the image."""
    executor = load_version(uri, version, versions_in(cache_of_worker(shared)), run, config.precision)
    executor.check(config.sampler)
    return executor


def _upscale_shard(executor: Executor, part: tuple[ShardRow, int], *, store: str, config: InferConfig) -> Done:
    """The first so many images of one shard."""
    from lsr.data.shards import read_samples

    opened = open_store(store)
    row, wanted = part
    target = Target(scale=config.scale)
    samples = islice(read_samples(opened, row), wanted)
    outputs: list[Sample] = []
    failed: list[Missing] = []
    inputs = 0
    while batch := list(islice(samples, executor.config.batch)):
        inputs += len(batch)
        readable = []
        for sample in batch:
            source = json.loads(sample["json"])["source"]
            # Only what is wrong with this one image: any other error would be that of every image.
            try:
                readable.append(_input(sample, source, target))
            except (InputError, IntegrityError) as error:
                failed.append(Missing(source=source, kind="failed", reason=str(error)))
        results = executor.upscale_all([one.image for one in readable], [target], config.sampler)
        outputs += [_output(one, result, config.scale) for one, (result,) in zip(readable, results, strict=True)]
    shard = store_shard(opened, *write_tar(outputs)) if outputs else None
    return Done(shard=shard, inputs=inputs, failed=tuple(failed))


def _input(sample: dict[str, Any], source: str, target: Target) -> _Input:
    """The decoded image. Raises InputError if its output would be too large."""
    from lsr.core.pixels import decode_rgb
    from lsr.data.pixels import image_of

    key = sample["__key__"]
    members = {ext: data for ext, data in sample.items() if not ext.startswith("__")}
    image = decode_rgb(image_of(members, key), key)
    target.of((image.shape[0], image.shape[1]))
    return _Input(key=key, source=source, image=image)


def _output(one: _Input, result: Image, scale: float) -> Sample:
    from lsr.core.encoding import png

    height, width = result.shape[:2]
    about = canonical_json({"source": one.source, "scale": scale, "width": width, "height": height})
    members = {"png": png(result), "json": about}
    return Sample(one.key, one.source, "output", width, height, members)


def infer(recipe: Recipe, ctx: Context) -> Inferred:
    """Upscale every image of `infer.source` with the version that the alias names now.

    Raises ConfigError for a recipe without an infer part, NotFoundError for a missing alias, ConflictError for an
    alias that disagrees with the promotion log, InputError for a request that no image could satisfy, RunFailedError
    when no image has an output.
    """
    from lsr.registry.aliases import resolve_for_inference

    config = recipe.infer
    if config is None:
        raise ConfigError(f"Recipe {recipe.name} has no infer part; give it infer.source.")
    version = resolve_for_inference(
        ctx.store, ctx.settings.mlflow, f"{model_name(recipe, ctx.settings)}@{config.alias}"
    )
    source = replace(recipe, source=config.source, shard=replace(recipe.shard, holdout=0.0, min_side=1))
    images = launch(request_of(SHARD, source, ctx.run, {"snapshot": snapshot(config.source, ctx)}), ctx).ref
    outcome = launch(_request(recipe, config, images, version, ctx), ctx)
    manifest = load_manifest(ctx.store, outcome.ref.path)
    return Inferred(
        model=str(version),
        path=outcome.ref.path,
        counts=dict(manifest.counts),
        images=_export(manifest, outcome.ref.digest, recipe, ctx),
        made=outcome.made,
    )


def _request(recipe: Recipe, config: InferConfig, images: Ref, version: Version, ctx: Context) -> Request:
    """The key is made from the model's content, not from its name: a renamed model's outputs are the same."""
    asked = {name: value for name, value in as_plain(config).items() if name not in ("source", "alias")}
    inputs = {"images": images.digest, "model": version.digest}
    return INFER.request(
        InferJob(job=config, model=version.name, number=version.number, digest=version.digest),
        {"images": images},
        ctx.run,
        name=config.source.name,
        task=recipe.task,
        seed=config.sampler.seed,
        key=action_key(INFER.name, INFER.version, inputs, {"part": asked, "schema": SCHEMA}),
    )


def make(request: Request, job: InferJob, ctx: Context, lease: Lease) -> Ref:
    """The outputs of one model version for one set of images: shards, counts and one row per file without an output.

    Raises IntegrityError if the registry's version is no longer the one that was asked for, InputError for a request
    that no image could satisfy and RunFailedError when every image failed; then nothing is recorded.
    """
    from lsr.registry.versions import get_version

    version = get_version(ctx.settings.mlflow, job.model, job.number)
    if version.digest != job.digest:
        raise IntegrityError(
            f"{job.model} version {job.number} in the registry has digest {version.digest[:12]}, asked for was "
            f"{job.digest[:12]}; the registry was changed after the alias had been resolved. Run the command again."
        )
    images = request.inputs["images"]
    manifest = _map_shards(load_manifest(ctx.store, images.path), images.digest, version, job.job, ctx)
    lease.check()
    return commit(ctx.store, request.key, manifest.record())


def _map_shards(images: Manifest, digest: str, version: Version, config: InferConfig, ctx: Context) -> Manifest:
    # Before any worker starts: a scale that no image of one pixel could have.
    Target(scale=config.scale)
    done: list[Done] = ctx.map(
        partial(_upscale_shard, store=ctx.store.uri, config=config),
        _first(images, config.limit),
        ctx.run.infer,
        "infer",
        "shards",
        setup=partial(_open, ctx.settings.mlflow, version, ctx.shared_cache(), config, ctx.run.executor),
        label=lambda part: f"shard {part[0].sha256[:12]}",
    )
    failed = [one for shard in done for one in shard.failed]
    shards = tuple(one.shard for one in done if one.shard is not None)
    if failed and not shards:
        raise RunFailedError(_all_failed(images.name, failed))
    missing = sorted([*failed, *_skipped(images, ctx.store)], key=lambda one: one.source)
    return Manifest(
        kind="outputs",
        name=f"{images.name}-x{config.scale:g}",
        parents={"images": digest, "model": version.digest},
        made_by={"stage": "infer", "version": INFER.version, "config": as_plain(config)},
        shards=shards,
        counts={
            "samples": sum(shard.samples for shard in shards),
            "inputs": sum(one.inputs for one in done),
            "failed": len(failed),
            **{name: images.counts[name] for name in ("files", "duplicates", "rejected")},
        },
        skipped=put_blob(ctx.store, canonical_json([asdict(one) for one in missing]), "json") if missing else None,
        extra={"model": version.name, "model_version": version.number},
    )


def _all_failed(name: str, failed: Sequence[Missing]) -> str:
    shown = " ".join(f"{one.source}: {one.reason}" for one in failed[:REASONS_SHOWN])
    more = f" {len(failed) - REASONS_SHOWN} more." if len(failed) > REASONS_SHOWN else ""
    return f"None of the {len(failed)} images of {name} has an output, so nothing is recorded. {shown}{more}"


def _skipped(images: Manifest, store: Store) -> Iterator[Missing]:
    """The files of the source that are in no image shard: duplicates, and those that cannot be used."""
    if images.skipped is None:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in pq.read_table(pa.BufferReader(get_blob(store, images.skipped.path))).to_pylist():
        yield Missing(source=row["source"], kind=row["kind"], reason=row["reason"])


def _first(images: Manifest, limit: int | None) -> list[tuple[ShardRow, int]]:
    """Each shard with how many of its images are among the first `limit` of the set."""
    left = images.counts["samples"] if limit is None else limit
    parts: list[tuple[ShardRow, int]] = []
    for row in images.shards:
        if left > 0:
            parts.append((row, min(row.samples, left)))
        left -= row.samples
    return parts


def _export(manifest: Manifest, digest: str, recipe: Recipe, ctx: Context) -> list[Path]:
    """The first outputs as files below the output folder."""
    # By index: reading a shard in sequence imports torch, seconds that a rerun with nothing to do should not pay.
    from lsr.data.cache import shards_in
    from lsr.data.shards import SampleReader

    folder = ctx.settings.output / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    reader = SampleReader(ctx.store, manifest, shards_in(ctx.settings.cache))
    for number in range(min(SHOWN, len(reader))):
        path = folder / f"{digest[:12]}-{reader.row(number).key}.png"
        if not path.exists():
            path.write_bytes(reader.read(number)["png"])
        paths.append(path)
    reader.close()
    return paths
