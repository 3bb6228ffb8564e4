"""Stage *tile*: image shards to tile shards."""

from __future__ import annotations

from functools import partial
from typing import Any

from data_prep.assemble import tiles_manifest
from data_prep.config import TileConfig
from data_prep.tile import cut_shard_to_store
from lsr.core.refs import Ref
from lsr.data.manifest import ShardRow, load_manifest
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.stages.commit import commit_manifest
from lsr.store.attempts import Lease


def _cut(row: ShardRow, *, store: str, config: TileConfig) -> Any:
    return cut_shard_to_store(store, row, config)


def make(request: Request, config: TileConfig, ctx: Context, lease: Lease) -> Ref:
    """Image shards to tile shards, one at a time. Raises InputError when no tile could be cut."""
    images = load_manifest(ctx.store, request.inputs["shard"].path)
    cuts = ctx.map(
        partial(_cut, store=ctx.store.uri, config=config), list(images.shards), ctx.run.tile, "tile", "shards"
    )
    return commit_manifest(request, ctx, lease, tiles_manifest(request.name, images, cuts, config))
