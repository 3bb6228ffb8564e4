"""The systems of a study and what is asked of them: every training and every measurement as a stage's request.

Each has its own action key, so a study that is stopped continues where it was, and a system added later costs only
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lsr.core.canonical import sha256_hex
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.request import Request
from lsr.engine.source import begin
from lsr.engine.table import BASELINE, MEASURE, PIPELINE, SHARD, TILE, MeasureConfig, inputs_of, request_of
from lsr.evaluation.config import EvaluateConfig
from lsr.recipes.run import Run
from lsr.recipes.schema import BaselineStage, Recipe
from lsr.recipes.study import StudyConfig
from lsr.stages.measure import pretrained_path

UNALIGNED = "-unaligned"
PRETRAINED = "realesrgan"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """One system of one seed, ready to be measured. inputs: what *measure* takes beside the photos."""

    label: str
    seed: int
    inputs: dict[str, Ref]
    pretrained: str = ""


def data_of(study: StudyConfig, ctx: Context) -> dict[str, Ref]:
    """What all systems share: what the pipeline begins with, the image set and the tile set, made or found."""
    refs = begin(study.ours, ctx)
    refs["shard"] = launch(request_of(SHARD, study.ours, ctx.run, {"snapshot": refs["snapshot"]}), ctx).ref
    refs["tile"] = launch(request_of(TILE, study.ours, ctx.run, {"shard": refs["shard"]}), ctx).ref
    return refs


def systems(study: StudyConfig, data: dict[str, Ref], ctx: Context) -> Iterator[Trained]:
    """Every system of every seed, trained or found, seeds in turn, so that an early stop leaves whole seeds."""
    for seed in study.seeds:
        for name, stage in study.baselines():
            ref = launch(_baseline_request(study, stage, data["tile"], seed, ctx.run), ctx).ref
            yield Trained(label=name, seed=seed, inputs={"baseline": ref})
        for name, recipe in study.latent_systems():
            yield from _latent(name, replace(recipe, seed=seed), data, ctx, unaligned=name in study.with_unaligned())
    if study.realesrgan and pretrained_path(ctx).is_file():
        digest = sha256_hex(pretrained_path(ctx).read_bytes())
        yield Trained(label=PRETRAINED, seed=study.seeds[0], inputs={}, pretrained=digest)


def _latent(label: str, recipe: Recipe, data: dict[str, Ref], ctx: Context, *, unaligned: bool) -> Iterator[Trained]:
    """A latent system and, if `unaligned`, a copy whose last stage has as many steps without the image loss."""
    refs = dict(data)

    def made(name: str, chosen: Recipe) -> Ref:
        stage = PIPELINE[name]
        return launch(request_of(stage, chosen, ctx.run, inputs_of(stage, chosen, refs)), ctx).ref

    for name in ("autoencoder", "decoder", "latents", "denoise"):
        refs[name] = made(name, recipe)
    without = replace(recipe, joint=replace(recipe.joint, loss=replace(recipe.joint.loss, image_weight=0.0)))
    for name, chosen in ((label, recipe), (label + UNALIGNED, without))[: 1 + unaligned]:
        inputs = {"latents": refs["latents"], "decoder": refs["decoder"], "joint": made("joint", chosen)}
        yield Trained(label=name, seed=recipe.seed, inputs=inputs)


def questions(study: StudyConfig, trained: Trained) -> Iterator[tuple[str, EvaluateConfig]]:
    """What each system is asked: the protocol, and ours of one seed also with few and many sampler steps."""
    yield trained.label, study.evaluate
    if trained.label == "ours" and trained.seed == study.seeds[0]:
        for steps in (study.few_steps, study.many_steps):
            yield f"ours-{steps}", replace(study.evaluate, sampler=replace(study.evaluate.sampler, steps=steps))


def _baseline_request(study: StudyConfig, stage: BaselineStage, tile: Ref, seed: int, run: Run) -> Request:
    return BASELINE.request(stage, {"tile": tile}, run, name=study.name, task=study.ours.task, seed=seed)


def measure_request(
    study: StudyConfig, trained: Trained, label: str, evaluate: EvaluateConfig, data: dict[str, Ref], run: Run
) -> Request:
    """What *measure* is asked of one trained system under `label`."""
    config = MeasureConfig(label=label, evaluate=evaluate, pretrained=trained.pretrained)
    inputs = {"shard": data["shard"], **trained.inputs}
    return MEASURE.request(config, inputs, run, name=study.name, task=study.ours.task, seed=trained.seed)
