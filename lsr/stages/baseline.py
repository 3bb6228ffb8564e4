"""Stage *baseline*: a comparator of a study, trained by the same loop from the same tiles."""

from __future__ import annotations

from typing import Any

from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.models.baselines.build import build as build_model
from lsr.models.baselines.config import EsrganConfig
from lsr.recipes.schema import BaselineStage
from lsr.stages.setup import Setup, Training
from lsr.stages.training import train_stage
from lsr.stages.worker import run_worker
from lsr.store.attempts import Lease
from lsr.training.baselines import EsrganLoss
from lsr.training.config import ImageTerms
from lsr.training.objectives.baseline import baseline_objective
from lsr.training.terms import perceptual_for


def build(setup: Setup, config: BaselineStage) -> Training:
    """What one worker trains."""
    setup.seed_weights()
    perceptual = None
    if isinstance(config.model, EsrganConfig):
        weight = (config.loss if isinstance(config.loss, EsrganLoss) else EsrganLoss()).perceptual_weight
        perceptual = perceptual_for(ImageTerms(perceptual=weight, network=config.network), setup.cache)
    model = build_model(config.model)
    return Training(
        objective=baseline_objective(model, config.model, config.degradation, config.loss, perceptual=perceptual),
        source=setup.tiles(config.train),
        system={"baseline": as_plain(config.model)},
    )


def work(plain: dict[str, Any], rank: int, world_size: int) -> dict[str, Any] | None:
    """One rank's side of the training."""
    return run_worker(build, BaselineStage, plain, rank)


def make(request: Request, config: BaselineStage, ctx: Context, lease: Lease) -> Ref:
    """Train and record the comparator."""
    return train_stage(work, request, config, ctx, lease)
