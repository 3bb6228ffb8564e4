"""Stage *latents*: tile shards to latent shards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from data_prep.assemble import latents_manifest
from data_prep.config import LatentsConfig
from lsr.core.refs import Ref
from lsr.data.manifest import ShardRow, load_manifest
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.inference.config import ExecutorConfig
from lsr.stages.commit import commit_manifest
from lsr.store import open_store
from lsr.store.attempts import Lease

if TYPE_CHECKING:
    import torch

    from data_prep.latents import Encode, EncodedShard


def load_encoder(store_uri: str, decoder: Ref, run: ExecutorConfig) -> Encode:
    """The encoder of a trained decoder stage as a function of tiles, on the device that the run says."""
    from lsr.core.config import from_plain
    from lsr.inference.executor import device_of
    from lsr.models.autoencoder import Encoder
    from lsr.models.config import AutoencoderConfig
    from lsr.stages.trained import read_trained, weights_of

    store = open_store(store_uri)
    trained = read_trained(store, decoder)
    device = device_of(run)
    encoder = Encoder(from_plain(AutoencoderConfig, trained.system["autoencoder"]))
    encoder.load_state_dict(weights_of(store, trained, "encoder."))
    encoder.eval().requires_grad_(False).to(device)

    def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        moments = encoder(x.to(device))
        return moments.mean, moments.std

    return encode


def _encode(
    encode: Encode, row: ShardRow, *, store: str, encoder: str, config: LatentsConfig, batch: int
) -> EncodedShard:
    from data_prep.latents import encode_shard_to_store

    return encode_shard_to_store(store, row, encode, encoder, config, batch)


def make(request: Request, config: LatentsConfig, ctx: Context, lease: Lease) -> Ref:
    """Tile shards to latent shards, 1:1, through actors that load the encoder once; whitening is fitted over all, or
    the base's.
    """
    from data_prep.latents import whitening_for

    tiles = load_manifest(ctx.store, request.inputs["tile"].path)
    decoder = request.inputs["decoder"]
    setup: Callable[[], Encode] = partial(load_encoder, ctx.store.uri, decoder, ctx.run.executor)
    encoded = ctx.map(
        partial(_encode, store=ctx.store.uri, encoder=decoder.digest, config=config, batch=ctx.run.latents_batch),
        list(tiles.shards),
        ctx.run.latents,
        "latents",
        "shards",
        setup=setup,
    )
    manifest = latents_manifest(
        request.name,
        tiles,
        encoded,
        config,
        encoder=decoder.digest,
        whitening=whitening_for(ctx.store, decoder.digest, config, [found.statistics for found in encoded]),
    )
    return commit_manifest(request, ctx, lease, manifest)
