"""Warm start: a recipe's networks start from the weights of another model, which is in the keys and the lineage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.config import SourceConfig
from lsr.core.errors import ConfigError, NotFoundError
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.source import begin
from lsr.engine.table import PIPELINE, START, inputs_of, key_of, request_of
from lsr.models.file import ModelFile
from lsr.models.system import load_system
from lsr.recipes.schema import Recipe
from lsr.stages.assemble import assemble, pack
from lsr.stages.provenance import lineage_of
from lsr.stages.trained import read_trained, weights_of
from lsr.training.config import Cadence, TrainConfig
from tests.inference.kit import make_image
from tests.stages.kit import Finished, context_at, few_images, made_by_every_stage, results

pytestmark = pytest.mark.timeout(300)
STILL = 1e-12
"""A learning rate that leaves float32 weights as they are."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Finished, Context]]:
    """A pipeline trained from random weights."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("warm")
    (home / "raw").mkdir()
    for number in range(5):
        Image.fromarray(make_image(96, 96, number)).save(home / "raw" / f"{number}.png")
    recipe = few_images(SourceConfig(uri=str(home / "raw"), name="mine"))
    ctx = context_at(home, "warm", Cadence(log=4, image=0, checkpoint=100_000))
    with ctx._stack:
        yield Finished(recipe, made_by_every_stage(recipe, ctx), home), ctx


@pytest.fixture(scope="module")
def file(first: tuple[Finished, Context]) -> Path:
    """Its model file."""
    finished, ctx = first
    packed = pack(assemble(ctx.store, finished.refs))
    path = finished.home / "first.safetensors"
    path.write_bytes(ModelFile(config=packed.config, weights=packed.weights, card="c", lineage=b"{}").to_bytes())
    return path


def still(recipe: Recipe, path: Path) -> Recipe:
    """The recipe from these weights, with training that does not move them."""

    def cut(train: TrainConfig) -> TrainConfig:
        return replace(train, images=8, lr=STILL)

    return replace(
        recipe,
        start=str(path),
        autoencoder=replace(recipe.autoencoder, train=cut(recipe.autoencoder.train)),
        decoder=replace(recipe.decoder, train=cut(recipe.decoder.train)),
        denoise=replace(recipe.denoise, train=cut(recipe.denoise.train)),
        joint=replace(recipe.joint, train=cut(recipe.joint.train)),
    )


def test_networks_start_from_the_file_and_lineage_names_it(first: tuple[Finished, Context], file: Path) -> None:
    finished, ctx = first
    recipe = still(finished.recipe, file)
    refs = results(recipe, ctx)
    assert refs["tile"] == finished.refs["tile"]
    held = ModelFile.from_bytes(file.read_bytes(), "file")
    theirs = load_system(held.config, held.weights).state_dict()
    mine = assemble(ctx.store, refs).state_dict()
    for name, value in theirs.items():
        if not name.startswith("latent_"):
            torch.testing.assert_close(mine[name], value, rtol=0, atol=1e-7, msg=name)
    for stage in ("autoencoder", "decoder", "denoise"):
        assert read_trained(ctx.store, refs[stage]).parents[START] == refs[START].digest
    assert START not in read_trained(ctx.store, refs["joint"]).parents
    assert lineage_of(ctx.store, recipe, refs, ids={}, weights=b"").inputs[START] == refs[START].digest


def test_the_encoder_stays_while_the_autoencoder_trains(first: tuple[Finished, Context], file: Path) -> None:
    finished, ctx = first
    recipe = replace(finished.recipe, start=str(file))
    refs = results(recipe, ctx, "autoencoder")
    trained = weights_of(ctx.store, read_trained(ctx.store, refs["autoencoder"]))
    held = ModelFile.from_bytes(file.read_bytes(), "file")
    theirs = load_system(held.config, held.weights).state_dict()
    encoder = {name for name in trained if name.startswith("encoder.")}
    assert encoder
    assert all(torch.equal(trained[name], theirs[name]) for name in encoder)
    moved = [
        name
        for name, value in trained.items()
        if name.startswith("decoder.") and not torch.equal(value, theirs.get(f"decoder.trunk{name[7:]}", value))
    ]
    assert moved


def test_keys_depend_on_the_weights_and_not_on_the_name(first: tuple[Finished, Context], file: Path) -> None:
    finished, ctx = first
    copy, other = file.with_name("copy.safetensors"), file.with_name("other.safetensors")
    copy.write_bytes(file.read_bytes())
    held = ModelFile.from_bytes(file.read_bytes(), "file")
    system = load_system(held.config, held.weights)
    with torch.no_grad():
        next(system.unet.parameters()).add_(1.0)
    changed = pack(system)
    other.write_bytes(ModelFile(config=changed.config, weights=changed.weights, card="", lineage=b"{}").to_bytes())

    def key(name: str) -> str:
        recipe = replace(finished.recipe, start=name)
        refs = {**finished.refs, **begin(recipe, ctx)}
        stage = PIPELINE["denoise"]
        return key_of(stage, recipe, inputs_of(stage, recipe, refs))

    assert key(str(file)) == key(str(copy))
    assert len({key(""), key(str(file)), key(str(other))}) == 3
    assert key("") == finished.refs["denoise"].key


def test_another_architecture_is_named(first: tuple[Finished, Context], file: Path) -> None:
    finished, ctx = first
    wider = replace(finished.recipe.autoencoder.model, channels=16)
    recipe = replace(finished.recipe, start=str(file), autoencoder=replace(finished.recipe.autoencoder, model=wider))
    stage = PIPELINE["autoencoder"]
    refs = {**finished.refs, **begin(recipe, ctx)}
    with pytest.raises(ConfigError, match=r"encoder\..* take the networks of that model's recipe"):
        launch(request_of(stage, recipe, ctx.run, inputs_of(stage, recipe, refs)), ctx)


def test_a_part_of_the_model_is_no_start(first: tuple[Finished, Context], file: Path) -> None:
    finished, ctx = first
    body = finished.recipe.decoder.body
    assert body is not None
    less = replace(finished.recipe.decoder, body=replace(body, blocks=body.blocks - 1))
    recipe = replace(finished.recipe, start=str(file), decoder=less)
    stage = PIPELINE["decoder"]
    refs = {**finished.refs, **begin(recipe, ctx)}
    with pytest.raises(ConfigError, match=r"decoder\..* has unexpected body\.blocks"):
        launch(request_of(stage, recipe, ctx.run, inputs_of(stage, recipe, refs)), ctx)


def test_a_file_that_is_not_there(first: tuple[Finished, Context], tmp_path: Path) -> None:
    finished, ctx = first
    with pytest.raises(NotFoundError, match=r"no model file .*gone\.safetensors"):
        begin(replace(finished.recipe, start=str(tmp_path / "gone.safetensors")), ctx)


def test_half_precision_loses_little_and_says_what_it_cannot_hold(file: Path) -> None:
    held = ModelFile.from_bytes(file.read_bytes(), "file")
    half = held.to_bytes(half=True)
    assert len(half) < 0.6 * len(held.to_bytes())
    assert held.to_bytes() == file.read_bytes() == held.to_bytes()
    rounded = ModelFile.from_bytes(half, "half")
    whole, back = (load_system(one.config, one.weights).state_dict() for one in (held, rounded))
    for name, value in whole.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_allclose(back[name].numpy(), value.numpy(), rtol=2**-10, atol=2**-24)
