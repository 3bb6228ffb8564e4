"""The images of an evaluation: where they are read to when the store is far, and when they go again."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto import mock_aws

from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.encoding import png
from lsr.core.refs import Ref
from lsr.core.settings import load_settings
from lsr.data.manifest import Manifest
from lsr.engine.context import Context
from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.images import bicubic
from lsr.inference.executor import Executor
from lsr.recipes.run import Run
from lsr.stages import evaluate
from lsr.stages.evaluate import SHOWN, held_out, real_tiles
from lsr.store import Store, open_store
from tests.training.kit import tiny_system

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store in a bucket."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="far-bucket")
        yield open_store("s3://far-bucket/store")


def put(store: Store, kind: str) -> Ref:
    """A set of the four images, of which the last two are held out."""
    samples = [
        Sample(f"{n}", "p", "eval" if n > 1 else "train", 8, 8, {"png": png(p), "json": b"{}"})
        for n, p in enumerate(PIXELS)
    ]
    row = store_shard(store, *write_tar(samples))
    manifest = Manifest(kind=kind, name="s", parents={}, made_by={}, shards=(row,), counts={"samples": 4})
    path = f"{manifest.directory}/{manifest.digest}.json"
    store.write(path, manifest.to_bytes())
    return Ref(kind=kind, key="k", digest=manifest.digest, path=path)


def test_shards_come_into_the_cache_of_the_settings_and_nothing_into_the_working_folder(
    far: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, tiles = put(far, "images"), put(far, "tiles")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    cache = tmp_path / "cache"
    photos = list(held_out(far, images, cache))
    assert [key for key, _ in photos] == ["2", "3"]
    assert all(np.array_equal(photo, PIXELS[int(key)]) for key, photo in photos)
    found = real_tiles(far, tiles, cache)
    assert np.array_equal(found, PIXELS)
    assert os.listdir(here) == []
    assert len(list((cache / "shards").glob("*.tar"))) == 1, "both sets are one shard"


def test_photos_go_when_they_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a protocol whose truths are cut from the photo, so that whoever keeps a truth keeps all of it."""
    alive: list[weakref.ref[Any]] = []

    def photos() -> Iterator[tuple[str, Any]]:
        for number in range(3 * SHOWN):
            photo = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            alive.append(weakref.ref(photo))
            yield f"{number:02}", photo
            del photo

    monkeypatch.setattr(evaluate, "upscaler_of", lambda executor, config: bicubic)
    config = EvaluateConfig(protocol="liif-full", photos=3 * SHOWN, scales=(2.0,), metrics=())
    settings = load_settings()
    ctx = Context(settings=settings, store=open_store(settings.store), run=Run(name="test"))
    measured, exhibits = evaluate._measure_upscaling(Executor(tiny_system()), photos(), config, ctx)
    assert len({row.photo for row in measured.rows}) == 3 * SHOWN
    assert [exhibit.photo for exhibit in exhibits] == [f"{n:02}" for n in range(SHOWN)]
    assert sum(photo() is not None for photo in alive) == SHOWN
