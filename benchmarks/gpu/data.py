"""What a study needs on another machine: its tiles, the photos that it measures, LPIPS. And what comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.canonical import action_key
from lsr.core.errors import InputError, NotFoundError
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.shards import SampleReader
from lsr.engine.context import Context
from lsr.engine.reuse import reusable
from lsr.recipes.study import StudyConfig
from lsr.stages.measure import pretrained_path
from lsr.store import Store
from lsr.store.actions import commit
from lsr.store.content import get_blob

HELD_OUT = "held-out"
_BLOB = re.compile(rb'"(blobs/[0-9a-f]{64}\.[a-z0-9.]+)"')


def held_out_set(store: Store, images: Ref, photos: int) -> Ref:
    """The first `photos` held-out photos of `images`, by key, as an image set of their own: those that a study
    with so many photos measures. Its members are the same bytes.
    """
    key = action_key(HELD_OUT, 1, {"images": images.digest}, {"photos": photos})
    found = reusable(store, key)
    if found is not None:
        return found
    manifest = load_manifest(store, images.path)
    reader = SampleReader(store, manifest, None)
    chosen = sorted((reader.row(i).key, i) for i in range(len(reader)) if reader.row(i).split == "eval")
    samples = [_sample(reader, index) for _, index in islice(chosen, photos)]
    reader.close()
    if not samples:
        raise InputError(f"Image set {manifest.name} holds no photo out; raise shard.holdout.")
    row = store_shard(store, *write_tar(samples))
    part = Manifest(
        kind="images",
        name=manifest.name,
        parents={"images": images.digest},
        made_by={"stage": HELD_OUT, "version": 1, "config": {"photos": photos}},
        shards=(row,),
        counts={"samples": len(samples)},
    )
    return commit(store, key, part.record())


def _sample(reader: SampleReader, index: int) -> Sample:
    row = reader.row(index)
    return Sample(row.key, row.source, row.split, row.width, row.height, reader.read(index))


def members_for(study: StudyConfig, data: Mapping[str, Ref], ctx: Context) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What travels to the other machine, and the facts of its head. data: `shard` and `tile` of the whole study.

    Raises InputError for a study that needs weights too large to travel, NotFoundError where LPIPS is not here.
    """
    if study.realesrgan and pretrained_path(ctx).is_file():
        raise InputError("RealESRGAN's weights are too large to travel; set realesrgan to false in this study.")
    carried = {"shard": held_out_set(ctx.store, data["shard"], study.evaluate.photos), "tile": data["tile"]}
    members: dict[str, bytes] = {}
    for ref in carried.values():
        members |= closure(ctx.store, ref)
    members |= _perceptual(study, ctx.settings)
    return members, {"data": {name: asdict(ref) for name, ref in carried.items()}}


def _perceptual(study: StudyConfig, settings: Settings) -> dict[str, bytes]:
    if {"dists", "mobilenetv2", "vgg16"} & set(study.evaluate.metrics):
        raise InputError("DISTS and the extractors do not travel; take them out of evaluate.metrics in this study.")
    inside = "sets/lpips/lpips-alex.safetensors"
    path = settings.cache / inside
    terms = [recipe.joint.loss.image for _, recipe in study.latent_systems()]
    if not path.is_file() and any(term.perceptual > 0 for term in terms):
        raise NotFoundError(f"{path} is missing, which this study trains with; run `lsr data get lpips`.")
    return {f"cache/{inside}": path.read_bytes()} if path.is_file() else {}


def closure(store: Store, ref: Ref) -> dict[str, bytes]:
    """A result's manifest, the blobs that it names and its action record, as members of a carried file."""
    manifest = store.read(ref.path)
    blobs = sorted({found.decode() for found in _BLOB.findall(manifest)})
    record = f"actions/{ref.key}.json"
    return {
        **{f"store/{path}": get_blob(store, path) for path in blobs},
        f"store/{ref.path}": manifest,
        f"store/{record}": store.read(record),
    }


def refs_of(facts: Mapping[str, Any]) -> dict[str, Ref]:
    """`shard` and `tile` by a head that `members_for` wrote."""
    return {name: Ref(**plain) for name, plain in facts["data"].items()}


def outputs_of(folder: Path, name: str) -> dict[str, bytes]:
    """The study's page and its files."""
    return {f"output/{name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
