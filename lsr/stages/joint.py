"""Stage *joint*: denoising and alignment through the fixed neural decoder (System A, Eq 7-9)."""

from __future__ import annotations

from functools import partial
from typing import Any

from lsr.core.config import from_plain
from lsr.core.errors import IntegrityError
from lsr.core.refs import Ref
from lsr.data.degrade import degrade
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.models.config import SystemConfig
from lsr.recipes.schema import JointStage
from lsr.stages.setup import Setup, Training
from lsr.stages.training import train_stage
from lsr.stages.worker import run_worker
from lsr.store.attempts import Lease
from lsr.training.config import DenoiseLoss
from lsr.training.objectives.joint import JointObjective
from lsr.training.terms import perceptual_for


def build(setup: Setup, config: JointStage) -> Training:
    """What one worker trains: the U-Net of *denoise*, on the same latents.

    Raises IntegrityError when *denoise* was trained on others.
    """
    denoised = setup.trained("denoise")
    if denoised.parents["latents"] != setup.request.inputs["latents"].digest:
        raise IntegrityError("The denoising stage was trained on other latents; run `lsr denoise` again.")
    architecture = from_plain(SystemConfig, denoised.system)
    system = setup.system(architecture)
    system.unet.load_state_dict(setup.weights(denoised))
    loss = from_plain(DenoiseLoss, denoised.config["loss"])
    degradation = setup.degradation()
    lr_of = None if degradation is None else partial(degrade, degradation)
    perceptual = perceptual_for(config.loss.image, setup.cache)
    return Training(
        objective=setup.conditioned(JointObjective(system, config.loss, loss, lr_of, perceptual), system),
        source=setup.latents(config.train, architecture, pixels=config.loss.image_weight > 0),
        system=denoised.system,
    )


def work(plain: dict[str, Any], rank: int, world_size: int) -> dict[str, Any] | None:
    """One rank's side of the training."""
    return run_worker(build, JointStage, plain, rank)


def make(request: Request, config: JointStage, ctx: Context, lease: Lease) -> Ref:
    """Train and record the aligned U-Net."""
    return train_stage(work, request, config, ctx, lease, scales=config.loss.scales)
