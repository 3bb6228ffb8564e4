"""Stage *decoder*: the implicit neural decoder at random scales (System A, Eq 6)."""

from __future__ import annotations

from functools import partial
from typing import Any

from lsr.core.config import as_plain, from_plain
from lsr.core.refs import Ref
from lsr.data.degrade import degrade, restore_size
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.models.autoencoder import Autoencoder
from lsr.models.config import AutoencoderConfig
from lsr.models.neural_decoder import NeuralDecoder
from lsr.recipes.schema import DecoderStage
from lsr.stages.setup import Setup, Training
from lsr.stages.training import train_stage
from lsr.stages.worker import run_worker
from lsr.store.attempts import Lease
from lsr.training.objectives.condition import ConditionInLoop
from lsr.training.objectives.decoder import DecoderObjective
from lsr.training.protocols import Objective
from lsr.training.terms import perceptual_for


def build(setup: Setup, config: DecoderStage) -> Training:
    """What one worker trains: the autoencoder's encoder and a decoder that starts from its decoder."""
    trained = setup.trained("autoencoder")
    architecture = from_plain(AutoencoderConfig, trained.system["autoencoder"])
    autoencoder = Autoencoder(architecture)
    autoencoder.load_state_dict(setup.weights(trained))
    setup.seed_weights()
    decoder = NeuralDecoder(architecture, config.renderer, config.body)
    if not setup.start(decoder, "decoder."):
        decoder.init_from(autoencoder)
    system: dict[str, Any] = {"autoencoder": trained.system["autoencoder"], "renderer": as_plain(config.renderer)}
    if config.residual is not None:
        system["residual"] = True
    if config.body is not None:
        system["body"] = as_plain(config.body)
    lr_of = None if config.residual is None else partial(degrade, config.residual)
    restore = None if config.residual is None else partial(restore_size, config.residual)
    perceptual = perceptual_for(config.loss.image, setup.cache)
    objective: Objective = DecoderObjective(autoencoder.encoder, decoder, config.loss, lr_of, perceptual, restore)
    if config.residual is not None and config.residual.sampled:
        objective = ConditionInLoop(objective, config.residual)
    return Training(objective=objective, source=setup.tiles(config.train), system=system)


def work(plain: dict[str, Any], rank: int, world_size: int) -> dict[str, Any] | None:
    """One rank's side of the training."""
    return run_worker(build, DecoderStage, plain, rank)


def make(request: Request, config: DecoderStage, ctx: Context, lease: Lease) -> Ref:
    """Train and record the decoder."""
    return train_stage(work, request, config, ctx, lease, scales=config.loss.scales)
