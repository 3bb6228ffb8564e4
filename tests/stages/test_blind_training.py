"""The pipeline from tiles to the joint stage under a sampled degradation, whose condition is in no shard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lsr.core.refs import Ref
from lsr.data.config import DegradationConfig
from lsr.data.manifest import load_manifest
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.request import Request
from lsr.engine.table import request_of, stage_named
from lsr.models.system import LatentSystem
from lsr.recipes.schema import Recipe
from lsr.stages.assemble import assemble
from lsr.stages.joint import build
from lsr.stages.setup import Setup
from lsr.study.systems import data_of
from lsr.training.objectives.condition import ConditionInLoop
from lsr.training.objectives.joint import JointObjective
from lsr.training.protocols import Draws
from tests.study.test_study_run import context, tiny

__all__ = ["context"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BLIND = DegradationConfig(factor=4, blur=(0.2, 2.0), noise=(1.0, 12.0), jpeg=(40, 90))
INPUTS = {
    "autoencoder": ("tile",),
    "decoder": ("tile", "autoencoder"),
    "latents": ("tile", "decoder"),
    "denoise": ("tile", "latents", "decoder"),
    "joint": ("tile", "latents", "decoder", "denoise"),
}


def under(degradation: DegradationConfig) -> Recipe:
    ours = tiny().ours
    return replace(
        ours,
        decoder=replace(ours.decoder, residual=degradation),
        latents=replace(ours.latents, degradations=(degradation,)),
    )


def asked(stage: str, recipe: Recipe, ctx: Context, refs: dict[str, Ref]) -> Request:
    return request_of(stage_named(stage), recipe, ctx.run, {name: refs[name] for name in INPUTS[stage]})


def trained(recipe: Recipe, ctx: Context) -> dict[str, Ref]:
    refs = data_of(replace(tiny(), ours=recipe), ctx)
    for stage in INPUTS:
        refs[stage] = launch(asked(stage, recipe, ctx, refs), ctx).ref
    return refs


def test_a_system_trains_under_a_sampled_degradation(context: Context) -> None:
    assert under(BLIND).faults() == []
    with context._stack:
        refs = trained(under(BLIND), context)
    assert load_manifest(context.store, refs["latents"].path).extra["degradations"] == []
    system = assemble(context.store, refs)
    assert isinstance(system, LatentSystem)
    assert (system.config.base_scale, system.config.residual) == (4, True)


def test_of_a_fixed_degradation_the_loop_makes_what_was_cached(context: Context, tmp_path: Path) -> None:
    recipe = under(DegradationConfig(factor=4))
    with context._stack:
        refs = trained(recipe, context)
    bench = build(Setup(asked("joint", recipe, context, refs), context.store, tmp_path), recipe.joint)
    assert isinstance(bench.objective, JointObjective), "a fixed degradation is read from the shards"
    batch = bench.source.batch(0, 4)
    system = bench.objective.system
    in_loop = ConditionInLoop(bench.objective, DegradationConfig(factor=4), system)
    made = in_loop.conditioned(batch, Draws(seed=0, stage="joint", step=0, first=0))["lr"]
    # Half precision keeps 11 significant bits; the encoder's own rounding differs with the batch.
    assert torch.all((made - batch["lr"]).abs() <= made.abs() * 2**-11 + 1e-5)
    assert not torch.equal(made, batch["lr"])
