"""Stage *infer* and single pictures: a registered version at work.

An alias is resolved once, to a version number and a digest, and only those travel on: a promotion in the middle of a
job cannot mix two models. The pictures themselves are made by `make`, which the launcher runs here or as a Ray job.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.canonical import action_key, canonical_json
from lsr.core.config import as_plain, described
from lsr.core.errors import ConfigError, IntegrityError, LsrError
from lsr.core.refs import Ref
from lsr.data.manifest import Manifest, ShardRow, load_manifest
from lsr.engine.context import Context
from lsr.engine.launch import build_request, launch
from lsr.engine.source import snapshot
from lsr.engine.table import INFER, InferJob, Request
from lsr.recipes.schema import InferConfig, Recipe
from lsr.stages.register import model_name
from lsr.store import open_store
from lsr.store.actions import commit
from lsr.store.attempts import Lease
from lsr.store.content import put_blob

if TYPE_CHECKING:
    from lsr.models.system import LatentSystem
    from lsr.registry.versions import Version

SHOWN = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Inferred:
    """One batch inference. counts: inputs = samples + failed. pictures: a few outputs, written for people."""

    model: str
    path: str
    counts: dict[str, int]
    pictures: list[Path]
    made: bool

    @property
    def text(self) -> str:
        verb = "made" if self.made else "reused"
        return (
            f"infer: {verb} {self.path} with {self.model}: {self.counts['inputs']} in, {self.counts['samples']} out, "
            f"{self.counts['failed']} failed"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "path": self.path,
            "counts": self.counts,
            "pictures": [str(p) for p in self.pictures],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The outputs of one image shard. failed: (key, reason) of each picture without an output."""

    shard: ShardRow | None
    inputs: int
    failed: tuple[tuple[str, str], ...]


def load_version(uri: str, version: Version, cache: str) -> LatentSystem:
    """The system that this very version holds: fetched once a node, every file checked; on the GPU if there is one."""
    import torch

    from lsr.models.system import load_system
    from lsr.registry.versions import fetch_version

    package = fetch_version(uri, version, Path(cache))
    system = load_system(package.config, package.weights, str(version))
    return system.to("cuda" if torch.cuda.is_available() else "cpu")


def _upscale_shard(system: LatentSystem, part: tuple[ShardRow, int], *, store: str, config: InferConfig) -> Done:
    """The first so many pictures of one shard."""
    from PIL import Image

    from lsr.data.pixels import decode_rgb, picture_of
    from lsr.data.shards import read_samples
    from lsr.inference.upscale import upscale
    from lsr.report.sheet import png

    opened = open_store(store)
    row, wanted = part
    outputs, failed, inputs = [], [], 0
    for sample in islice(read_samples(opened, row), wanted):
        inputs += 1
        key = sample["__key__"]
        members = {ext: data for ext, data in sample.items() if not ext.startswith("__")}
        try:
            image = decode_rgb(picture_of(members, key), key)
            result = upscale(
                system,
                image,
                scale=config.scale,
                steps=config.steps,
                eta=config.eta,
                sampler=config.sampler,
                seed=config.seed,
            )
        except LsrError as error:
            failed.append((key, str(error)))
            continue
        height, width = result.shape[:2]
        source = json.loads(members["json"])["source"]
        about = canonical_json({"source": source, "scale": config.scale, "width": width, "height": height})
        outputs.append(
            Sample(key, source, "output", width, height, {"png": png(Image.fromarray(result)), "json": about})
        )
    shard = store_shard(opened, *write_tar(outputs)) if outputs else None
    return Done(shard=shard, inputs=inputs, failed=tuple(failed))


def infer(recipe: Recipe, ctx: Context) -> Inferred:
    """Upscale every picture of `infer.source` with the version that the alias names now.

    Raises ConfigError for a recipe without an infer part, NotFoundError for a missing alias, ConflictError for an
    alias that disagrees with the promotion log.
    """
    from lsr.registry.aliases import resolve_for_inference

    config = recipe.infer
    if config is None:
        raise ConfigError(f"Recipe {recipe.name} has no infer part; give it infer.source.")
    version = resolve_for_inference(
        ctx.store, ctx.settings.mlflow, f"{model_name(recipe, ctx.settings)}@{config.alias}"
    )
    source = replace(recipe, source=config.source, shard=replace(recipe.shard, holdout=0.0, min_side=1))
    images = launch(build_request("shard", source, {"snapshot": snapshot(config.source, ctx)}), ctx).ref
    outcome = launch(_request(recipe, config, images, version), ctx)
    manifest = load_manifest(ctx.store, outcome.ref.path)
    return Inferred(
        model=str(version),
        path=outcome.ref.path,
        counts=dict(manifest.counts),
        pictures=_export(manifest, outcome.ref.digest, recipe, ctx),
        made=outcome.made,
    )


def _request(recipe: Recipe, config: InferConfig, images: Ref, version: Version) -> Request:
    """The key is made from the model's content, not from its name: a renamed model's outputs are the same."""
    part = {name: value for name, value in described(config).items() if name not in ("source", "alias")}
    return Request(
        stage=INFER.name,
        key=action_key(INFER.name, INFER.version, {"images": images.digest, "model": version.digest}, part),
        inputs={"images": images},
        config=as_plain(InferJob(job=config, model=version.name, number=version.number, digest=version.digest)),
        name=config.source.name,
        task=recipe.task,
        seed=config.seed,
        compute=as_plain(recipe.compute),
    )


def make(request: Request, job: InferJob, ctx: Context, lease: Lease) -> Ref:
    """The outputs of one model version for one set of images: shards, counts and the reasons of failures.

    Raises IntegrityError if the registry's version is no longer the one that was asked for.
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
    rows = _first(images, config.limit)
    done: list[Done] = ctx.map(
        partial(_upscale_shard, store=ctx.store.uri, config=config),
        rows,
        "infer",
        "shards",
        setup=partial(load_version, ctx.settings.mlflow, version, str(ctx.settings.cache / "versions")),
        gpus=min(ctx.compute.gpus_per_worker, 1.0),
    )
    failed = [{"key": key, "reason": reason} for one in done for key, reason in one.failed]
    shards = tuple(one.shard for one in done if one.shard is not None)
    return Manifest(
        kind="outputs",
        name=f"{images.name}-x{config.scale:g}",
        parents={"images": digest, "model": version.digest},
        made_by={"stage": "infer", "version": INFER.version, "config": described(config)},
        shards=shards,
        counts={
            "samples": sum(shard.samples for shard in shards),
            "inputs": sum(one.inputs for one in done),
            "failed": len(failed),
        },
        refusals=put_blob(ctx.store, canonical_json(failed), "json") if failed else None,
        extra={"model": version.name, "model_version": version.number},
    )


def _first(images: Manifest, limit: int | None) -> list[tuple[ShardRow, int]]:
    """Each shard with how many of its pictures are among the first `limit` of the set."""
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
