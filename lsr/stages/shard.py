"""Stage *shard*: raw images to image shards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

from data_prep.assemble import images_manifest
from data_prep.config import ShardConfig
from data_prep.grow import grow, load_base
from data_prep.inspection import Inspected, chunks_of, inspect_items
from data_prep.items import Item
from data_prep.planning import Planned, plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import Snapshot, source_root
from lsr.core.refs import Ref
from lsr.core.settings import cache_of_worker
from lsr.data.manifest import ShardRow
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.stages.commit import commit_manifest
from lsr.store.attempts import Lease


def _inspect(
    chunk: Sequence[Item], *, store: str, source: str, cache: str | None, config: ShardConfig
) -> list[Inspected]:
    return inspect_items(store, source_root(source, cache_of_worker(cache)), chunk, config)


def _build(images: Sequence[Planned], *, store: str, source: str, cache: str | None, config: ShardConfig) -> ShardRow:
    return build_shard_to_store(store, source_root(source, cache_of_worker(cache)), images, config)


def make(request: Request, config: ShardConfig, ctx: Context, lease: Lease) -> Ref:
    """Raw images to image shards: inspect in chunks, plan once, build shard by shard what the base does not hold.

    Raises InputError when too many images are rejected or one changed since it was listed.
    """
    listed = Snapshot.load(ctx.store, request.inputs["snapshot"].path)
    source_root(listed.uri, ctx.settings.cache)
    shared: dict[str, Any] = {
        "store": ctx.store.uri,
        "source": listed.uri,
        "cache": ctx.shared_cache(),
        "config": config,
    }
    chunks = list(chunks_of(listed.items))
    inspection = ctx.each(partial(_inspect, **shared), chunks, ctx.run.shard, "inspect", "chunks of files")
    with closing(inspection) as inspected:
        planned = plan((found for _, chunk in inspected for found in chunk), config)
    grown = grow(planned, load_base(ctx.store, config), config)
    missing = [part for part in grown if not isinstance(part, ShardRow)]
    built = iter(ctx.map(partial(_build, **shared), missing, ctx.run.shard, "shard", "shards"))
    rows = [part if isinstance(part, ShardRow) else next(built) for part in grown]
    return commit_manifest(request, ctx, lease, images_manifest(ctx.store, request.name, planned, rows, config))
