"""A whole study in small: every system trained, measured and in the table; a second run makes nothing again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lsr.core.config import as_plain
from lsr.core.settings import Settings
from lsr.diffusion.config import SamplerConfig
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.models.baselines.config import EdsrConfig, LiifConfig
from lsr.models.config import RendererConfig
from lsr.recipes.run import Run, TrainRun
from lsr.recipes.schema import JointStage
from lsr.recipes.study import StudyConfig, Variant
from lsr.recipes.study_2core import study as full_study
from lsr.stages.provenance import attempts_of
from lsr.store import open_store
from lsr.study import run, systems
from lsr.study.run import run_study
from lsr.training.config import JointLoss, TrainConfig
from tests.stages.kit import Here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEEN = 32


def few(train: TrainConfig, share: int = 1) -> TrainConfig:
    return replace(train, images=SEEN // share, batch=4, warmup=0)


def tiny() -> StudyConfig:
    """Bundled photos, one system of each kind; no LPIPS, whose weights come from the network."""
    full = full_study()

    def quarters(parts: Any) -> Any:
        plain = replace(parts, joint=replace(parts.joint, loss=JointLoss(scales=(0.5, 1.0))))
        cut = {n: replace(getattr(plain, n), train=few(getattr(plain, n).train, 4)) for n in STAGES}
        return replace(plain, **cut)

    ours = replace(
        quarters(full.ours),
        source=replace(full.ours.source, uri="set:photos", name="photos"),
        tile=replace(full.ours.tile, max_per_image=3),
    )
    assert full.edsr is not None
    assert full.liif is not None
    return replace(
        full,
        name="tiny",
        ours=ours,
        published=quarters(full.published),
        edsr=replace(full.edsr, model=EdsrConfig(channels=8, blocks=1), train=few(full.edsr.train)),
        liif=replace(
            full.liif,
            model=LiifConfig(channels=8, blocks=1, renderer=RendererConfig(hidden=(8, 8))),
            train=few(full.liif.train),
        ),
        esrgan=None,
        sr3=None,
        idm=None,
        realesrgan=False,
        seeds=(1, 2),
        images_seen=SEEN,
        evaluate=replace(full.evaluate, photos=2, sampler=SamplerConfig(steps=2), scales=(2.7, 4.0, 5.5), metrics=()),
        few_steps=1,
        many_steps=4,
        resamples=100,
    )


def uncapped(joint: JointStage) -> JointStage:
    return replace(joint, loss=replace(joint.loss, cap=None))


STAGES = ("autoencoder", "decoder", "denoise", "joint")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    torch.set_num_threads(1)
    store = f"file://{tmp_path}/store"
    settings = Settings(home=tmp_path, store=store, mlflow=f"sqlite:///{tmp_path}/mlflow.db")
    run = Run(name="test", train=TrainRun(workers=0))
    return Here(settings=settings, store=open_store(store), run=run, pipeline="study")


def test_a_study_trains_measures_and_writes_and_is_not_made_twice(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tiny()
    variant = Variant(name="uncapped", parts=replace(plain.published, joint=uncapped(plain.ours.joint)))
    study, made = replace(plain, variants=(variant,)), []
    for module in (systems, run):
        monkeypatch.setattr(module, "launch", lambda request, ctx: made.append(launch(request, ctx)) or made[-1])
    with context._stack:
        result = run_study(study, context)
        first = [outcome.stage for outcome in made if outcome.made]
        trained = [outcome.ref.key for outcome in made if outcome.made and outcome.stage in ("baseline", "joint")]
        made.clear()
        again = run_study(study, context)
    assert first.count("baseline") == 2 * len(study.seeds)
    assert first.count("joint") == 5 * len(study.seeds), "each latent system with and without alignment, a variant with"
    assert first.count("autoencoder") == len(study.seeds), "the same autoencoder is trained once for both"
    assert not [outcome.stage for outcome in made if outcome.made], "everything was on record"
    for key in trained:
        (attempt,) = attempts_of(context.store, key)
        assert (attempt.from_step, attempt.environment["world size"]) == (0, "1")
        assert attempt.images_per_second is not None
        assert attempt.images_per_second > 0
        assert attempt.run == as_plain(context.run)["train"]
        assert attempt.ids.keys() == {"mlflow_run"}
    assert set(result.measured) == {
        *("edsr", "liif", "published", "published-unaligned", "ours", "ours-unaligned", "ours-1", "ours-4", "uncapped")
    }
    assert {label: len(seeds) for label, seeds in result.measured.items()}["ours"] == len(study.seeds)
    names = {path.name for path in result.files}
    assert {"table.md", "table.json", "before-after.png", "report.html"} <= names
    assert b"ours-unaligned" not in (result.folder / "report.html").read_bytes(), "controls are in the table only"
    text = (result.folder / "table.md").read_text()
    assert "| edsr" in text
    assert "Variant (uncapped against ours), psnr in range" in text
    assert "No win over these is claimed" in text
    numbers = json.loads((result.folder / "table.json").read_text())
    cells = {(c["system"], c["scale"], c["metric"]): c["interval"] for c in numbers["cells"]}
    bicubic = [row.values["psnr"] for row in result.measured["edsr"][0].evaluation.rows if row.system == "bicubic"]
    assert len(bicubic) == 2 * 3
    assert cells[("bicubic", 4.0, "psnr")]["n"] == 2
    assert numbers["speed"]["ours"][0]["seconds"] > 0
    same = {name: (again.folder / name).read_bytes() for name in ("before-after.png",)}
    assert all((result.folder / name).read_bytes() == data for name, data in same.items())
