"""Stage *infer*: one output or one row per file, and a request that no image can satisfy ends it without a record."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.config import SourceConfig
from lsr.core.errors import InputError, LsrError, RunFailedError
from lsr.core.settings import Settings
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.shards import read_samples
from lsr.diffusion.config import SamplerConfig
from lsr.engine.context import Context
from lsr.inference import request
from lsr.inference.config import ExecutorConfig, Precision
from lsr.inference.executor import Executor
from lsr.recipes.demo import demo
from lsr.recipes.run import Run
from lsr.recipes.schema import InferConfig, Recipe
from lsr.registry.versions import Version
from lsr.stages import infer as stage
from lsr.store import open_store
from lsr.store.content import get_blob
from tests.inference.kit import make_image
from tests.stages.kit import Here
from tests.training.kit import tiny_system

VERSION = Version(name="m", number=1, digest="d" * 64, files="f" * 64)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ExecutorConfig, Precision]]:
    """A registry of one version, which holds a tiny system; how it was put on its device."""
    asked: list[tuple[ExecutorConfig, Precision]] = []

    def load(uri: str, version: Version, cache: Path, config: ExecutorConfig, precision: Precision) -> Executor:
        asked.append((config, precision))
        return Executor(tiny_system(), config, precision)

    monkeypatch.setattr("lsr.registry.aliases.resolve_for_inference", lambda *_: VERSION)
    monkeypatch.setattr("lsr.registry.versions.get_version", lambda *_: VERSION)
    monkeypatch.setattr(stage, "load_version", load)
    return asked


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    torch.set_num_threads(1)
    store = f"file://{tmp_path}/home/store"
    settings = Settings(home=tmp_path / "home", store=store, mlflow=f"sqlite:///{tmp_path}/mlflow.db")
    run = Run(name="test", executor=ExecutorConfig(device="cpu", batch=2))
    return Here(settings=settings, store=open_store(store), run=run, pipeline="infer")


def put(folder: Path, name: str, pixels: np.ndarray[Any, Any]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def recipe(folder: Path, **how: Any) -> Recipe:
    base = demo()
    asked = {"scale": 2.0, "sampler": SamplerConfig(steps=2, seed=5), **how}
    return replace(base, infer=InferConfig(source=SourceConfig(uri=str(folder), name="mine"), **asked))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images, one of them in three folders, one larger than the others; and a file that is none."""
    raw = tmp_path / "raw"
    for name, pixels in (
        ("a/one.png", make_image(8, 8, 1)),
        ("b/one.png", make_image(8, 8, 1)),
        ("c/one.png", make_image(8, 8, 1)),
        ("two.png", make_image(8, 8, 2)),
        ("three.png", make_image(8, 6, 3)),
        ("wide.png", make_image(8, 40, 4)),
    ):
        put(raw, name, pixels)
    (raw / "text.png").write_text("no image")
    return raw


def rows(ctx: Context, manifest: Manifest) -> dict[str, tuple[str, str]]:
    """(kind, reason) by file, of those without an output."""
    assert manifest.skipped is not None
    found = json.loads(get_blob(ctx.store, manifest.skipped.path))
    return {row["source"]: (row["kind"], row["reason"]) for row in found}


def outputs(ctx: Context, manifest: Manifest) -> dict[str, np.ndarray[Any, Any]]:
    """Pixels by file."""
    out = {}
    for row in manifest.shards:
        for sample in read_samples(ctx.store, row):
            out[json.loads(sample["json"])["source"]] = np.asarray(Image.open(io.BytesIO(sample["png"])))
    return out


def test_every_file_has_an_output_or_a_row_that_says_why_not(
    ctx: Context, folder: Path, monkeypatch: pytest.MonkeyPatch, registry: list[tuple[ExecutorConfig, Precision]]
) -> None:
    monkeypatch.setattr(request, "MAX_PIXELS", 600)
    result = stage.infer(recipe(folder, precision="bf16"), ctx)
    assert registry == [(ctx.run.executor, "bf16")]
    manifest = load_manifest(ctx.store, result.path)
    made, missing = outputs(ctx, manifest), rows(ctx, manifest)
    assert made.keys() | missing.keys() == {str(p.relative_to(folder)) for p in folder.rglob("*.png")}
    assert not made.keys() & missing.keys()
    assert {name: kind for name, (kind, _) in missing.items()} == {
        "b/one.png": "duplicate",
        "c/one.png": "duplicate",
        "text.png": "rejected",
        "wide.png": "failed",
    }
    assert "a/one.png" in missing["b/one.png"][1]
    assert "at most 600 pixels, found 16 x 80" in missing["wide.png"][1]
    assert (manifest.counts["files"], manifest.counts["inputs"], manifest.counts["failed"]) == (7, 4, 1)
    assert "4 in, 3 out, 1 failed; of 7 files 2 are duplicates and 1 rejected" in result.text
    executor = Executor(tiny_system(), precision="bf16")
    for name, pixels in (("a/one.png", make_image(8, 8, 1)), ("three.png", make_image(8, 6, 3))):
        expected = executor.upscale(pixels, request.Target(scale=2.0), SamplerConfig(steps=2, seed=5))
        assert np.abs(made[name].astype(int) - expected.astype(int)).max() <= 2, "as alone, but for rounding"
    assert not stage.infer(recipe(folder, precision="bf16"), ctx).made


def test_an_inference_without_any_output_fails_names_its_images_and_is_not_recorded(
    ctx: Context, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(folder, scale=30_000.0)
    for _ in range(2):
        with pytest.raises(RunFailedError, match="None of the 4 images of mine has an output") as caught:
            stage.infer(asked, ctx)
        for name in ("a/one.png", "two.png", "three.png", "wide.png"):
            assert f"{name}: An output may have at most 1073741824 pixels" in str(caught.value)
        assert caught.value.exit_code > 0
    assert not list(ctx.store.list("datasets/mine-x30000/"))


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"scale": 1e7}, InputError, "An output may have at most"),
        ({"sampler": SamplerConfig(steps=101)}, InputError, "between 1 and the schedule's 100, found 101"),
        ({"sampler": SamplerConfig(name="heun", steps=2, eta=0.5)}, InputError, "eta must be 0"),
    ],
)
def test_a_request_that_no_image_can_satisfy_ends_the_stage(
    ctx: Context, folder: Path, how: dict[str, Any], error: type[LsrError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        stage.infer(recipe(folder, **how), ctx)
    assert "images of mine" not in str(caught.value)


def test_a_model_that_generates_ends_the_stage(ctx: Context, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "load_version", lambda *_: Executor(tiny_system(conditional=False)))
    with pytest.raises(InputError, match="takes no LR image; use a super-resolution model"):
        stage.infer(recipe(folder), ctx)
