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
from lsr.data.manifest import load_manifest
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.table import EVALUATE, request_of
from lsr.evaluation.controls import shuffled
from lsr.evaluation.gate import judge
from lsr.evaluation.protocol import evaluate
from lsr.evaluation.verdict import Candidate
from lsr.inference.executor import Executor
from lsr.recipes.demo import DEMO_FLOOR, demo
from lsr.recipes.schema import Recipe
from lsr.registry.promotion import champion, read_log
from lsr.stages.assemble import assemble
from lsr.stages.evaluate import held_out, upscaler_of
from lsr.stages.gate import Judged, gate
from lsr.stages.trained import read_trained, weights_of
from lsr.store.actions import commit
from lsr.store.content import put_blob
from lsr.training.config import Cadence, JointLoss, TrainConfig
from tests.stages.kit import Finished, context_at, made_by_every_stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Weights = dict[str, torch.Tensor]


def small() -> Recipe:
    """`demo` on smaller tiles for fewer steps; its networks and its floor are the committed ones."""
    base = demo()

    def cut(train: TrainConfig, images: int) -> TrainConfig:
        return replace(train, images=images, ema=0.95)

    return replace(
        base,
        name="small",
        model="lsr-small",
        tile=replace(base.tile, size=48, stride=48, max_per_image=24, flips=False),
        autoencoder=replace(base.autoencoder, train=cut(base.autoencoder.train, 1_600)),
        decoder=replace(base.decoder, train=cut(base.decoder.train, 8_000)),
        denoise=replace(base.denoise, train=cut(base.denoise.train, 2_400)),
        joint=replace(base.joint, train=cut(base.joint.train, 640), loss=JointLoss(scales=(0.5, 1.0))),
        evaluate=replace(base.evaluate, scales=(2.7, 4.0), crops=1, photos=6),
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
    """The pipeline's results with the decoder's weights changed, measured anew.

    Not the U-Net's: a decoder that sees the LR image makes good images of any latent after so short a training.
    """
    whole = read_trained(ctx.store, pipeline.refs["decoder"])
    weights = {
        name: corrupt(name, value) if name.startswith("decoder.") else value
        for name, value in sorted(weights_of(ctx.store, whole).items())
    }
    blob = put_blob(ctx.store, save(weights), "safetensors")
    decoder = commit(ctx.store, "5" * 64, replace(whole, weights={**whole.weights, "ema": blob}).record())
    cached = load_manifest(ctx.store, pipeline.refs["latents"].path)
    latents = replace(cached, extra={**cached.extra, "encoder": decoder.digest})
    refs = {**pipeline.refs, "decoder": decoder, "latents": commit(ctx.store, "6" * 64, latents.record())}
    inputs = {name: refs[name] for name in EVALUATE.inputs}
    return {**refs, "evaluate": launch(request_of(EVALUATE, pipeline.recipe, ctx.run, inputs), ctx).ref}


def untrained(pipeline: Finished, ctx: Context) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Every weight as it was before the first step, when a residual decoder adds nothing to bicubic."""
    system = assemble(ctx.store, pipeline.refs)
    torch.manual_seed(1)
    fresh = dict(type(system)(system.config).state_dict())
    return lambda name, value: fresh[name].clone()


def noisy(pipeline: Finished, ctx: Context) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Every weight with Gaussian noise of one standard deviation of its tensor."""
    draw = torch.Generator().manual_seed(2)

    def corrupt(name: str, value: torch.Tensor) -> torch.Tensor:
        spread = float(value.std()) if value.numel() > 1 else 0.0
        return value + spread * torch.randn(value.shape, generator=draw)

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
