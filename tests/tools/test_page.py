"""The page of a run: gathered from the store and the registry, kept in MLflow once, read back from there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.sources import Snapshot
from lsr.core.canonical import canonical_json
from lsr.core.errors import InputError, IntegrityError, NotFoundError
from lsr.core.files import file_sha256
from lsr.core.refs import Ref
from lsr.core.settings import Settings, load_settings
from lsr.engine.context import Context
from lsr.evaluation.protocol import Exhibit, Image, evaluate
from lsr.evaluation.verdict import Candidate, Line, Verdict
from lsr.recipes import load_recipe
from lsr.recipes.run import laptop
from lsr.recipes.schema import Recipe
from lsr.registry.connect import connect
from lsr.registry.lineage import Lineage, Registration, Training, TrainingAttempt
from lsr.registry.packaging import FILES, Package, _identity, _walk
from lsr.registry.promotion import put_verdict
from lsr.registry.runs import open_run
from lsr.registry.versions import Version, read_lineage, register, tag_version
from lsr.report.exhibits import pack_exhibits
from lsr.stages.evaluate import EXHIBITS, _without_control
from lsr.stages.gate import VERDICT
from lsr.stages.register import REFS, SYSTEM, _system_identity
from lsr.stages.trained import Trained
from lsr.store import Store, open_store
from lsr.store.actions import commit
from lsr.store.content import put_blob
from lsr.store.roots import PHOTOS, Record
from lsr.tools.page import publish, write_version_page

MODEL = "lsr-short"
ATTEMPT = TrainingAttempt(
    key="k" * 64,
    attempt=1,
    submission="joint-k-a1",
    started_at=1.0,
    commit="abc123-dirty",
    packages="p" * 64,
    versions={},
    environment={"world size": "8"},
    run={},
    ids={},
    from_step=0,
    steps=1,
    seconds=1.0,
    images_per_second=57.3,
)
LINEAGE = Lineage(
    config="c" * 64,
    seed=7,
    inputs={},
    trainings={"joint": Training(result="j" * 64, steps=1, images_seen=1, batch=1, attempts=[ATTEMPT])},
    registration=Registration(commit="def456", packages="q" * 64, ids={}),
)


def trained(store: Store, kind: str) -> Ref:
    weights = {"ema": put_blob(store, kind.encode(), "safetensors")}
    made = Trained(kind=kind, parents={}, config={}, system={}, weights=weights, steps=1, images_seen=1, metrics={})
    return commit(store, kind.encode().hex(), made.record())


def evaluated(store: Store, recipe: Recipe) -> tuple[Ref, str]:
    """A recorded evaluation with its images, and the digest of its rows."""

    def flat(lr: Image, sizes: object) -> list[Image]:
        return [np.full((h, w, 3), 128, np.uint8) for h, w in sizes]  # type: ignore[attr-defined]

    shown: list[Exhibit] = []
    photo = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    measured = evaluate([("key", photo)], {"ours": flat, "degraded": flat}, recipe.evaluate, show=shown.append)
    made = Record(
        kind="evaluation",
        parents={},
        blobs={
            "rows": put_blob(store, measured.to_bytes(), "json"),
            EXHIBITS: put_blob(store, pack_exhibits(_without_control(shown)), "zip"),
        },
        made_by={},
        extra={"images": [], PHOTOS: ["key"]},
    )
    return commit(store, "e" * 64, made), measured.digest


def package(folder: Path) -> Package:
    folder.mkdir()
    (folder / "weights.safetensors").write_text("weights")
    (folder / "lineage.json").write_bytes(LINEAGE.to_bytes())
    (folder / FILES).write_bytes(canonical_json({"format": 1, "sha256": {n: file_sha256(f) for n, f in _walk(folder)}}))
    listing = json.loads((folder / FILES).read_bytes())["sha256"]
    return Package(path=folder, digest=_identity(listing), files=file_sha256(folder / FILES))


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def line(settings: Settings, tmp_path: Path) -> tuple[Recipe, dict[str, Ref], Context, Version]:
    """A registered version and everything that it was made of, as the pipeline leaves them."""
    store = open_store(settings.store)
    recipe = load_recipe("short")
    refs = {
        "snapshot": Snapshot(uri="set:photos", items=(), ignored={}).save(store, "photos"),
        "latents": Ref(kind="latents", key="l", digest="1" * 64, path="datasets/l.json"),
        "decoder": trained(store, "decoder"),
        "joint": trained(store, "joint"),
    }
    refs["evaluate"], rows = evaluated(store, recipe)
    run = open_run(settings.mlflow, experiment="lsr", key="k" * 64, stage="register")
    tags = {
        SYSTEM: _system_identity(store, refs, recipe),
        REFS: json.dumps({name: ref.as_dict() for name, ref in refs.items()}),
    }
    version = register(settings.mlflow, MODEL, package(tmp_path / "package"), run_id=run, tags=tags)
    rule = Line(
        rule="psnr", decision="PASS", effect=1.0, low=0.5, high=1.5, above=0.0, n=1, reason="It is better by far."
    )
    verdict = Verdict(
        decision="PASS",
        candidate=Candidate(model=MODEL, version=1, digest=version.digest),
        champion=None,
        evaluation=rows,
        champion_evaluation=None,
        gate={"confidence": 0.95},
        lines=(rule,),
    )
    tag_version(settings.mlflow, version, {VERDICT: put_verdict(store, verdict)})
    ctx = Context(settings=settings, store=store, run=laptop(), pipeline=recipe.name)
    return recipe, refs, ctx, version


def test_the_page_is_kept_in_mlflow_once_and_is_the_same_from_the_version(
    line: tuple[Recipe, dict[str, Ref], Context, Version], tmp_path: Path
) -> None:
    recipe, refs, ctx, version = line
    uri = ctx.settings.mlflow
    first = publish(recipe, refs, ctx)
    assert first.made
    kept = Path(connect(uri).download_artifacts(version.run_id, "report.html", str(tmp_path)))
    assert kept.read_bytes() == first.path.read_bytes()
    assert first.bytes == kept.stat().st_size
    assert Path(first.link.removeprefix("file://")).read_bytes() == kept.read_bytes()
    again = publish(recipe, refs, ctx)
    assert (again.made, again.link, again.path) == (False, first.link, first.path)
    text = kept.read_text()
    for said in (
        "Gate: PASS",
        "It is better by far.",
        "abc123-dirty",
        "def456",
        "57.3 images/s",
        "world size 8",
        version.digest,
    ):
        assert said in text
    for ref in refs.values():
        assert ref.digest in text
    assert "CC0" in text, "the licence of the packaged photos"
    assert "degraded" not in text
    assert "judged other measurements" not in text
    facts = write_version_page(ctx.settings, f"{MODEL}/1", tmp_path / "deep" / "own.html")
    assert (tmp_path / "deep" / "own.html").stat().st_size == facts["bytes"] > 1000


def test_what_cannot_be_drawn_is_said(line: tuple[Recipe, dict[str, Ref], Context, Version], tmp_path: Path) -> None:
    recipe, refs, ctx, _ = line
    with pytest.raises(NotFoundError, match="no registered version; run `lsr register -r short`"):
        publish(recipe, {**refs, "latents": replace(refs["latents"], digest="2" * 64)}, ctx)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        write_version_page(ctx.settings, f"{MODEL}/1", tmp_path / "file" / "report.html")
    with pytest.raises(NotFoundError, match="no version 9"):
        write_version_page(ctx.settings, f"{MODEL}/9", tmp_path / "report.html")


def test_a_changed_lineage_is_rejected(line: tuple[Recipe, dict[str, Ref], Context, Version]) -> None:
    _, _, ctx, version = line
    assert read_lineage(ctx.settings.mlflow, version)["seed"] == 7
    (kept,) = (ctx.settings.home / "mlflow-artifacts").rglob("lineage.json")
    kept.write_text('{"seed":8}')
    with pytest.raises(IntegrityError, match=r"lineage.json of lsr-short/1 was changed"):
        read_lineage(ctx.settings.mlflow, version)
