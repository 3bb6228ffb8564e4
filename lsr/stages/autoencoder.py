"""Stage *autoencoder*: the first stage's reconstruction training."""

from __future__ import annotations

from typing import Any

from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.models.autoencoder import Autoencoder, SymmetricDecoder
from lsr.recipes.schema import AutoencoderStage
from lsr.stages.setup import Setup, Training
from lsr.stages.training import train_stage
from lsr.stages.worker import run_worker
from lsr.store.attempts import Lease
from lsr.training.objectives.autoencoder import AutoencoderObjective
from lsr.training.terms import perceptual_for


def build(setup: Setup, config: AutoencoderStage) -> Training:
    """What one worker trains."""
    setup.seed_weights()
    autoencoder = Autoencoder(config.model)
    started = setup.start(autoencoder.encoder, "encoder.")
    if started:
        trunk = SymmetricDecoder(config.model, upsample=False)
        setup.start(trunk, "decoder.trunk.")
        autoencoder.decoder.load_state_dict(trunk.state_dict(), strict=False)
    perceptual = perceptual_for(config.loss.image, setup.cache)
    return Training(
        objective=AutoencoderObjective(autoencoder, config.loss, perceptual, freeze_encoder=started),
        source=setup.tiles(config.train),
        system={"autoencoder": as_plain(config.model)},
    )


def work(plain: dict[str, Any], rank: int, world_size: int) -> dict[str, Any] | None:
    """One rank's side of the training."""
    return run_worker(build, AutoencoderStage, plain, rank)


def make(request: Request, config: AutoencoderStage, ctx: Context, lease: Lease) -> Ref:
    """Train and record the autoencoder."""
    return train_stage(work, request, config, ctx, lease)
