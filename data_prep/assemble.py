"""Per-shard results into the manifests of whole data sets, with a list of what was skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data_prep.config import LATENTS_VERSION, SHARD_VERSION, TILE_VERSION, LatentsConfig, ShardConfig, TileConfig
from data_prep.latents import EncodedShard
from data_prep.planning import Plan, Skipped
from data_prep.tile import CutShard
from lsr.core.config import as_plain
from lsr.core.errors import InputError, IntegrityError
from lsr.data.degrade import degradation_digest
from lsr.data.index import write_table
from lsr.data.manifest import Manifest, ShardRow
from lsr.data.whitening import Whitening
from lsr.store import Store
from lsr.store.content import put_blob
from lsr.store.roots import digest_in


def _made_by(stage: str, version: int, config: object) -> dict[str, Any]:
    return {"stage": stage, "version": version, "config": as_plain(config)}


def write_skipped(skipped: Sequence[Skipped]) -> bytes:
    """Deterministic Parquet: one row a file that is in no shard, with source, kind and reason."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in ("source", "kind", "reason")])
    return write_table([asdict(file) for file in skipped], schema)


def images_manifest(store: Store, name: str, plan: Plan, rows: Sequence[ShardRow], config: ShardConfig) -> Manifest:
    """The manifest of image shards; rows in the order of the plan's shards, or of those `grow` made of them. Puts the
    list of what was skipped.

    Raises IntegrityError when a file of the source is not accounted for.
    """
    counts = plan.counts
    built = sum(row.samples for row in rows)
    if built != counts["samples"] or built + counts["rejected"] + counts["duplicates"] != counts["files"]:
        raise IntegrityError(f"Of {counts['files']} files, {built} are in shards, and the plan says {counts}.")
    skipped = put_blob(store, write_skipped(plan.skipped), "parquet") if plan.skipped else None
    return Manifest(
        kind="images",
        name=name,
        parents={"source": plan.sources} | ({"base": digest_in(config.base)} if config.base else {}),
        made_by=_made_by("shard", SHARD_VERSION, config),
        shards=tuple(rows),
        counts=counts,
        skipped=skipped,
    )


def tiles_manifest(name: str, images: Manifest, cuts: Sequence[CutShard], config: TileConfig) -> Manifest:
    """The manifest of tile shards; `cuts` in the order of `images.shards`. Raises InputError when there is no tile."""
    totals: dict[str, int] = {}
    for found in cuts:
        for key, value in found.counts.items():
            totals[key] = totals.get(key, 0) + value
    if not totals.get("tiles"):
        raise InputError(
            f"No tile of {config.size} pixels was cut from {totals.get('photos', 0)} training photos shrunk "
            f"by {config.shrink}; {totals.get('flat', 0)} were below min_detail = {config.min_detail:g}. Lower "
            "tile.size, tile.shrink, tile.min_detail or shard.holdout."
        )
    samples = totals.pop("tiles")
    return Manifest(
        kind="tiles",
        name=name,
        parents={"images": images.digest},
        made_by=_made_by("tile", TILE_VERSION, config),
        shards=tuple(row for found in cuts for row in found.shards),
        counts={"samples": samples, **totals},
        extra={"size": config.size},
    )


def latents_manifest(
    name: str,
    tiles: Manifest,
    encoded: Sequence[EncodedShard],
    config: LatentsConfig,
    *,
    encoder: str,
    whitening: Whitening,
) -> Manifest:
    """The manifest of latent shards, aligned with `tiles.shards`. encoder: digest of the encoder's weights and config.

    `extra` of the manifest: `encoder`, `whitening` (its digest), `whitening_values`, `degradations` (their digests),
    `max_error` of half precision. Raises IntegrityError when the shards are not those of `tiles`.
    """
    counts = [found.shard.samples for found in encoded]
    if counts != [row.samples for row in tiles.shards]:
        raise IntegrityError(f"Latents of {tiles.name} have {counts} samples a shard; its tiles have others.")
    return Manifest(
        kind="latents",
        name=name,
        parents={"tiles": tiles.digest, "encoder": encoder} | ({"base": digest_in(config.base)} if config.base else {}),
        made_by=_made_by("latents", LATENTS_VERSION, config),
        shards=tuple(found.shard for found in encoded),
        counts={"samples": sum(counts)},
        extra={
            "encoder": encoder,
            "whitening": whitening.digest,
            "whitening_values": whitening.as_plain(),
            "degradations": [degradation_digest(degradation) for degradation in config.cached],
            "max_error": max((found.statistics.max_error for found in encoded), default=0.0),
        },
    )
