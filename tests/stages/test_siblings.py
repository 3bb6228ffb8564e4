"""A stage of another duration resumes from its sibling and says so, or says why it does not."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.encoding import png
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.data.manifest import Manifest
from lsr.engine.launch import Outcome, launch
from lsr.engine.request import Request
from lsr.engine.table import PIPELINE, request_of
from lsr.models.config import AutoencoderConfig
from lsr.recipes import load_recipe
from lsr.recipes.run import Run, TrainRun
from lsr.stages.siblings import ROOT, join, trajectory_of
from lsr.stages.trained import Trained, read_trained
from lsr.store import Store, open_store
from lsr.training.config import Cadence, TrainConfig
from tests.stages.kit import Here

SMALL = AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, latent_channels=2, mid_attention=False)
TRAIN = TrainConfig(images=24, batch=4, warmup=8)
RUN = Run(name="test", train=TrainRun(workers=0, every=Cadence(checkpoint=2)))


@pytest.fixture
def context(tmp_path: Path) -> Here:
    torch.set_num_threads(1)
    store = f"file://{tmp_path}/store"
    settings = Settings(home=tmp_path, store=store, mlflow=f"sqlite:///{tmp_path}/mlflow.db")
    return Here(settings=settings, store=open_store(store), run=RUN)


def tiles(store: Store) -> Ref:
    """16 tiles of noise."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"{n:03d}", "p", "train", 16, 16, {"png": png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))})
        for n in range(16)
    ]
    manifest = Manifest(
        kind="tiles",
        name="t",
        parents={},
        made_by={},
        shards=(store_shard(store, *write_tar(samples)),),
        counts={"samples": 16},
        extra={"size": 16},
    )
    store.write(manifest.path, manifest.to_bytes())
    return Ref(kind="tiles", key="t", digest=manifest.digest, path=manifest.path)


def request(tile: Ref, train: TrainConfig = TRAIN, run: Run = RUN, **changes: Any) -> Request:
    recipe = load_recipe("short")
    recipe = replace(recipe, autoencoder=replace(recipe.autoencoder, model=SMALL, train=train), **changes)
    return request_of(PIPELINE["autoencoder"], recipe, run, {"tile": tile})


def trained(context: Here, outcome: Outcome) -> Trained:
    return read_trained(context.store, outcome.ref)


@pytest.mark.slow
def test_a_raised_duration_goes_on_and_its_outcome_says_from_where(context: Here) -> None:
    """The raised run's result is, to the digest, that of a store which never held a shorter one."""
    with context._stack:
        tile = tiles(context.store)
        short = launch(request(tile), context)
        long = launch(request(tile, replace(TRAIN, images=40)), context)
        again = launch(request(tile, replace(TRAIN, images=40)), context)
        alone = replace(context.settings, store=f"{context.settings.store}-alone")
        other = Here(settings=alone, store=open_store(alone.store), run=RUN)
        whole = launch(request(tiles(other.store), replace(TRAIN, images=40)), other)
        other._stack.close()
    assert short.note == ""
    assert long.note == f"It went on from 24 images of run {short.ref.key[:12]}."
    assert (again.made, again.ref) == (False, long.ref)
    assert long.ref == whole.ref
    assert trained(context, long).images_seen == 40
    assert list(trained(context, long).weights) == ["ema"]


@pytest.mark.slow
def test_cosine_says_why_it_starts_again(context: Here) -> None:
    cosine = replace(TRAIN, schedule="cosine")
    with context._stack:
        tile = tiles(context.store)
        short = launch(request(tile, cosine), context)
        long = launch(request(tile, replace(cosine, images=40)), context)
    assert short.note == ""
    assert long.note.startswith(
        "It starts from the beginning although a run of 24 images exists: under schedule cosine"
    )
    assert [info.key for info in context.store.list("runs/") if "/checkpoint/" in info.key] == []


@pytest.mark.slow
def test_without_a_kept_checkpoint_it_starts_again(context: Here) -> None:
    run = replace(RUN, train=replace(RUN.train, keep_checkpoint=False))
    context.run = run
    with context._stack:
        tile = tiles(context.store)
        launch(request(tile, run=run), context)
        assert [info.key for info in context.store.list("runs/") if "/checkpoint/" in info.key] == []
        assert launch(request(tile, replace(TRAIN, images=40), run), context).note == ""


def test_only_the_duration_may_differ(context: Here) -> None:
    tile = tiles(context.store)
    wsd = replace(TRAIN, schedule="wsd", cooldown=8)
    same = [request(tile), request(tile, replace(TRAIN, images=400)), request(tile, run=replace(RUN, name="other"))]
    others = [
        request(tile, replace(TRAIN, lr=0.5)),
        request(tile, replace(TRAIN, batch=8)),
        request(tile, replace(TRAIN, schedule="cosine")),
        request(tile, wsd),
        request(tile, seed=99),
        request(replace(tile, digest="0" * 64)),
    ]
    assert len({trajectory_of(one) for one in same}) == 1
    assert len({trajectory_of(one) for one in (same[0], *others)}) == 1 + len(others)
    assert trajectory_of(request(tile, wsd)) == trajectory_of(request(tile, replace(wsd, images=40, cooldown=16)))


def test_a_damaged_note_of_a_sibling_is_passed_over(context: Here, caplog: pytest.LogCaptureFixture) -> None:
    tile = tiles(context.store)
    runs = [request(tile, replace(TRAIN, images=images)) for images in (24, 40, 80)]
    for number, one in enumerate(runs):
        found = join(context.store, one, replace(TRAIN, images=(24, 40, 80)[number]))
        assert found == {earlier.key: (24, 40, 80)[place] for place, earlier in enumerate(runs[:number])}
    context.store.write(f"{ROOT}/{trajectory_of(runs[0])}/{runs[0].key}.json", b"{}")
    with caplog.at_level(logging.WARNING):
        assert join(context.store, runs[2], replace(TRAIN, images=80)) == {runs[1].key: 40}
    assert f"Run {runs[0].key[:12]} is not resumed" in caplog.text
