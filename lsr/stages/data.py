"""The data stages *shard*, *tile*, *latents*: each maps one function over shards through Ray and commits a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from data_prep.assemble import images_manifest, latents_manifest, tiles_manifest
from data_prep.config import LatentsConfig, ShardConfig, TileConfig
from data_prep.grow import grow, load_base
from data_prep.inspection import Inspected, chunks_of, inspect_items
from data_prep.items import Item
from data_prep.planning import Planned, plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import Snapshot, source_root
from data_prep.tile import cut_shard_to_store
from lsr.core.refs import Ref
from lsr.data.manifest import Manifest, ShardRow, load_manifest
from lsr.stages.context import Context
from lsr.stages.line import Request
from lsr.store import open_store
from lsr.store.attempts import Lease
from lsr.store.content import commit

if TYPE_CHECKING:
    from data_prep.latents import Encode, EncodedShard


def _commit(request: Request, ctx: Context, lease: Lease, manifest: Manifest) -> Ref:
    lease.check()
    return commit(
        ctx.store, kind=manifest.kind, key=request.key, directory=manifest.directory, manifest=manifest.to_bytes()
    )


def _inspect(chunk: Sequence[Item], *, store: str, root: str, config: ShardConfig) -> list[Inspected]:
    return inspect_items(store, root, chunk, config)


def _build(images: Sequence[Planned], *, store: str, root: str, config: ShardConfig) -> ShardRow:
    return build_shard_to_store(store, root, images, config)


def shard(request: Request, config: ShardConfig, ctx: Context, lease: Lease) -> Ref:
    """Raw images to image shards: inspect in chunks, plan once, build shard by shard what the base does not hold.

    Raises InputError when too many images are refused or one changed since it was listed.
    """
    listed = Snapshot.load(ctx.store, request.inputs["snapshot"].path)
    root = source_root(listed.uri, ctx.settings.cache)
    shared: dict[str, Any] = {"store": ctx.store.uri, "root": root, "config": config}
    chunks = list(chunks_of(listed.items))
    with closing(ctx.each(partial(_inspect, **shared), chunks, "inspect", "chunks of files")) as inspected:
        planned = plan((found for _, chunk in inspected for found in chunk), config)
    grown = grow(planned, load_base(ctx.store, config), config)
    missing = [part for part in grown if not isinstance(part, ShardRow)]
    built = iter(ctx.map(partial(_build, **shared), missing, "shard", "shards"))
    rows = [part if isinstance(part, ShardRow) else next(built) for part in grown]
    return _commit(request, ctx, lease, images_manifest(ctx.store, request.name, planned, rows, config))


def _cut(row: ShardRow, *, store: str, config: TileConfig) -> Any:
    return cut_shard_to_store(store, row, config)


def tile(request: Request, config: TileConfig, ctx: Context, lease: Lease) -> Ref:
    """Image shards to tile shards, one at a time. Raises InputError when no tile could be cut."""
    images = load_manifest(ctx.store, request.inputs["shard"].path)
    cuts = ctx.map(partial(_cut, store=ctx.store.uri, config=config), list(images.shards), "tile", "shards")
    return _commit(request, ctx, lease, tiles_manifest(request.name, images, cuts, config))


def load_encoder(store_uri: str, decoder: Ref) -> Encode:
    """The encoder of a trained decoder stage as a function of tiles, on the GPU where there is one."""
    import torch

    from lsr.core.config import from_plain
    from lsr.models.autoencoder import Encoder
    from lsr.models.config import AutoencoderConfig
    from lsr.stages.results import read_trained, weights_of

    store = open_store(store_uri)
    trained = read_trained(store, decoder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = Encoder(from_plain(AutoencoderConfig, trained.system["autoencoder"]))
    encoder.load_state_dict(weights_of(store, trained, "ema", "encoder."))
    encoder.eval().requires_grad_(False).to(device)

    def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        moments = encoder(x.to(device))
        return moments.mean, moments.std

    return encode


def _encode(encode: Encode, row: ShardRow, *, store: str, encoder: str, config: LatentsConfig) -> EncodedShard:
    from data_prep.latents import encode_shard_to_store

    return encode_shard_to_store(store, row, encode, encoder, config)


def latents(request: Request, config: LatentsConfig, ctx: Context, lease: Lease) -> Ref:
    """Tile shards to latent shards, 1:1, through actors that load the encoder once; whitening is fitted over all, or
    the base's.
    """
    from data_prep.latents import whitening_for

    tiles = load_manifest(ctx.store, request.inputs["tile"].path)
    decoder = request.inputs["decoder"]
    setup: Callable[[], Encode] = partial(load_encoder, ctx.store.uri, decoder)
    encoded = ctx.map(
        partial(_encode, store=ctx.store.uri, encoder=decoder.digest, config=config),
        list(tiles.shards),
        "latents",
        "shards",
        setup=setup,
        gpus=min(ctx.compute.gpus_per_worker, 1.0),
    )
    manifest = latents_manifest(
        request.name,
        tiles,
        encoded,
        config,
        encoder=decoder.digest,
        whitening=whitening_for(ctx.store, decoder.digest, config, [found.statistics for found in encoded]),
    )
    return _commit(request, ctx, lease, manifest)
