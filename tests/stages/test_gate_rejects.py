"""The gate with real weights: what was trained passes the committed floor, and what was corrupted does not.

A small system is trained on the bundled photos by the pipeline's own stages, in this process and without Ray. Each
corrupted system is a registered version of its own, measured and judged as any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.table import EVALUATE, request_of
from lsr.evaluation.controls import shuffled
from lsr.evaluation.gate import judge
from lsr.evaluation.protocol import evaluate
from lsr.evaluation.verdict import Candidate
from lsr.inference.executor import Executor
from lsr.models.config import AutoencoderConfig, RendererConfig, UNetConfig
from lsr.recipes.demo import DEMO_FLOOR, demo
from lsr.recipes.schema import Recipe
from lsr.registry.promotion import champion, read_log
from lsr.stages.assemble import assemble
from lsr.stages.evaluate import held_out, upscaler_of
from lsr.stages.gate import Judged, gate
from lsr.stages.trained import read_trained, weights_of
from lsr.store.actions import commit
from lsr.store.content import put_blob
from lsr.training.config import Cadence, TrainConfig
from tests.stages.kit import Finished, context_at, made_by_every_stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Weights = dict[str, torch.Tensor]


def small() -> Recipe:
    """`demo` with smaller networks and fewer steps; its floor is the committed one.

    Scale 2 is not measured: there bicubic loses little of a smooth photo, and a decoder of this size more. Two
    sampler steps: the errors of so short a training add up over more, by an amount that hangs on the sample order.
    """
    base = demo()

    def cut(train: TrainConfig, steps: int, lr: float = 2e-3) -> TrainConfig:
        return replace(train, images=8 * steps, batch=8, lr=lr, ema=0.95)

    architecture = AutoencoderConfig(channels=16, multipliers=(1, 2), blocks=1, latent_channels=8, mid_attention=False)
    unet = UNetConfig(channels=32, multipliers=(1, 2), blocks=1, attention_factors=())
    sampler = replace(base.evaluate.sampler, steps=2)
    return replace(
        base,
        name="small",
        model="lsr-small",
        tile=replace(base.tile, size=32, stride=32, max_per_image=24, flips=False),
        autoencoder=replace(base.autoencoder, model=architecture, train=cut(base.autoencoder.train, 600)),
        decoder=replace(base.decoder, renderer=RendererConfig(hidden=(32, 32)), train=cut(base.decoder.train, 1600)),
        denoise=replace(base.denoise, unet=unet, train=cut(base.denoise.train, 1000)),
        joint=replace(base.joint, train=cut(base.joint.train, 80, 5e-4)),
        evaluate=replace(base.evaluate, scales=(2.7, 4.0), crops=1, photos=6, sampler=sampler),
        infer=None,
    )


def context(home: Path) -> Context:
    return context_at(home, "gate", Cadence(log=50, image=0, checkpoint=100_000))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The pipeline up to *evaluate*, trained once for the module."""
    torch.set_num_threads(1)
    recipe, home = small(), tmp_path_factory.mktemp("gate") / "home"
    ctx = context(home)
    with ctx._stack:
        refs = made_by_every_stage(recipe, ctx)
    return Finished(recipe, refs, home)


@pytest.fixture
def pipeline(trained: Finished, tmp_path: Path) -> Iterator[tuple[Finished, Context]]:
    """A copy of the trained pipeline with a registry and a promotion log of its own."""
    home = tmp_path / "home"
    shutil.copytree(trained.home, home)
    ctx = context(home)
    with ctx._stack:
        yield replace(trained, home=home), ctx


def corrupted(pipeline: Finished, ctx: Context, corrupt: Callable[[str, torch.Tensor], torch.Tensor]) -> dict[str, Ref]:
    """The pipeline's results with the U-Net's weights changed, measured anew."""
    whole = read_trained(ctx.store, pipeline.refs["joint"])
    weights = {name: corrupt(name, value) for name, value in sorted(weights_of(ctx.store, whole).items())}
    blob = put_blob(ctx.store, save(weights), "safetensors")
    joint = commit(ctx.store, "5" * 64, replace(whole, weights={**whole.weights, "ema": blob}).record())
    refs = {**pipeline.refs, "joint": joint}
    inputs = {name: refs[name] for name in EVALUATE.inputs}
    return {**refs, "evaluate": launch(request_of(EVALUATE, pipeline.recipe, ctx.run, inputs), ctx).ref}


def untrained(pipeline: Finished, ctx: Context) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Every weight of the U-Net as it was before the first step."""
    system = assemble(ctx.store, pipeline.refs)
    torch.manual_seed(1)
    fresh = dict(type(system)(system.config).unet.state_dict())
    return lambda name, value: fresh[name.removeprefix("unet.")].clone()


def noisy(pipeline: Finished, ctx: Context) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Every weight with Gaussian noise of three standard deviations of its tensor: one passes the demo's floor."""
    draw = torch.Generator().manual_seed(2)

    def corrupt(name: str, value: torch.Tensor) -> torch.Tensor:
        spread = float(value.std()) if value.numel() > 1 else 0.0
        return value + 3 * spread * torch.randn(value.shape, generator=draw)

    return corrupt


def judged(pipeline: Finished, ctx: Context, refs: dict[str, Ref]) -> Judged:
    """What the stage *gate* says of these results, registered as a version."""
    result = gate(pipeline.recipe, refs, ctx)
    print(result.text)
    return result


def test_the_trained_system_passes_the_committed_floor_and_is_promoted(pipeline: tuple[Finished, Context]) -> None:
    trained, ctx = pipeline
    assert trained.recipe.gate.floor == DEMO_FLOOR
    result = judged(*pipeline, trained.refs)
    assert (result.decision, result.alias) == ("PASS", "champion")
    held = champion(read_log(ctx.store, "lsr-small"))
    assert held is not None
    assert held.version == result.version


@pytest.mark.parametrize("way", [untrained, noisy])
@pytest.mark.parametrize("beside_champion", [False, True], ids=["no champion", "beside a champion"])
def test_corrupted_weights_are_rejected_and_nothing_is_promoted(
    pipeline: tuple[Finished, Context], way: Callable[..., Any], beside_champion: bool
) -> None:
    trained, ctx = pipeline
    if beside_champion:
        assert judged(*pipeline, trained.refs).decision == "PASS"
    before = read_log(ctx.store, "lsr-small")
    result = judged(*pipeline, corrupted(trained, ctx, way(trained, ctx)))
    assert result.version == 1 + beside_champion
    assert result.decision in ("FAIL", "INCONCLUSIVE")
    assert read_log(ctx.store, "lsr-small") == before
    assert "champion" not in (result.alias or "")


def test_a_system_that_is_given_another_images_condition_is_rejected(pipeline: tuple[Finished, Context]) -> None:
    """The same weights, each low-resolution image answered with another one's: what a model that ignores its
    condition would score.
    """
    trained, ctx = pipeline
    config = trained.recipe.evaluate
    photos = list(held_out(ctx.store, trained.refs["shard"], ctx.settings.cache))
    ours = upscaler_of(Executor(assemble(ctx.store, trained.refs)), config)
    asked: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

    def listening(lr: Any, sizes: Any) -> Any:
        asked.append(lr)
        return ours(lr, sizes)

    subject = Candidate(model="lsr-small", version=1, digest="0" * 64)
    straight = evaluate(photos, {"ours": listening}, config)
    other = evaluate(photos, {"ours": shuffled(ours, asked)}, config)
    assert judge(straight, trained.recipe.gate, subject, trained=config.trained).decision == "PASS"
    assert judge(other, trained.recipe.gate, subject, trained=config.trained).decision == "FAIL"
