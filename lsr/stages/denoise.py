"""Stage *denoise*: the latent diffusion U-Net, denoising alone (System A, Eq 4)."""

from __future__ import annotations

from typing import Any

from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.recipes.schema import DenoiseStage
from lsr.stages.assemble import system_config
from lsr.stages.setup import Setup, Training
from lsr.stages.training import train_stage
from lsr.stages.worker import run_worker
from lsr.store.attempts import Lease
from lsr.training.objectives.denoise import DenoiseObjective


def build(setup: Setup, config: DenoiseStage) -> Training:
    """What one worker trains: the U-Net of a system whose first stage is fixed."""
    unet = {"unet": as_plain(config.unet), "diffusion": as_plain(config.diffusion)}
    architecture = system_config(
        setup.trained("decoder"), unet, setup.manifest("latents"), setup.manifest("tile"), setup.request.task
    )
    system = setup.system(architecture)
    setup.start(system.unet, "unet.")
    return Training(
        objective=setup.conditioned(DenoiseObjective(system, config.loss), system),
        source=setup.latents(config.train, architecture, pixels=False),
        system=as_plain(architecture),
    )


def work(plain: dict[str, Any], rank: int, world_size: int) -> dict[str, Any] | None:
    """One rank's side of the training."""
    return run_worker(build, DenoiseStage, plain, rank)


def make(request: Request, config: DenoiseStage, ctx: Context, lease: Lease) -> Ref:
    """Train and record the U-Net."""
    return train_stage(work, request, config, ctx, lease)
