"""A takedown is complete: after it nothing below the profile's folders decodes to the photo or a part of it.

A small pipeline is trained for real, measured, registered, promoted, used and reported. Each photo has a hue of its
own, which crops, tiles, contact sheets and enlargements keep: that is how the test knows it again, by none of the
product's code.
"""

from __future__ import annotations

import base64
import colorsys
import io
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from data_prep.config import SourceConfig
from lsr.core.settings import load_settings
from lsr.data.manifest import load_manifest
from lsr.data.shards import index_rows
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.table import MEASURE, MeasureConfig
from lsr.recipes.schema import Recipe
from lsr.stages.gate import gate
from lsr.stages.infer import infer
from lsr.store import open_store
from lsr.tools.forget import delete, find
from lsr.tools.page import publish
from lsr.training.config import Cadence
from tests.stages.kit import Finished, context_at, few_images, made_by_every_stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PHOTOS, SIDE = 12, 112


def hue_of(number: int) -> float:
    return number / PHOTOS


def draw(path: Path, number: int) -> None:
    """Textured, in one hue: its red, green and blue keep their proportions from pixel to pixel."""
    rng = np.random.default_rng(number)
    coarse = np.kron(rng.uniform(0.35, 1.0, (SIDE // 4, SIDE // 4)), np.ones((4, 4)))
    colour = np.array(colorsys.hsv_to_rgb(hue_of(number), 0.9, 1.0))
    Image.fromarray((255 * coarse[:, :, None] * colour).astype(np.uint8)).save(path)


def shows(pixels: np.ndarray, number: int) -> bool:
    """Whether some block of 8 x 8 pixels is saturated and of the photo's hue throughout."""
    height, width = (side // 8 * 8 for side in pixels.shape[:2])
    hsv = np.asarray(Image.fromarray(pixels[:height, :width]).convert("HSV")).astype(int)
    off = np.abs((hsv[..., 0] - round(255 * hue_of(number)) + 128) % 256 - 128)
    right = (off <= 4) & (hsv[..., 1] >= 190) & (hsv[..., 2] >= 50)
    blocks = right.reshape(height // 8, 8, width // 8, 8).mean((1, 3))
    return bool((blocks > 0.95).any())


def images_in(data: bytes, where: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every image that can be had from the bytes: themselves, members of tars and zips, data URIs of pages."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield where, np.asarray(image.convert("RGB"))
            return
    except (UnidentifiedImageError, OSError, ValueError):
        pass
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from images_in(archive.read(name), f"{where}!{name}")
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                if (file := tar.extractfile(member)) is not None:
                    yield from images_in(file.read(), f"{where}!{member.name}")
            return
    except tarfile.TarError:
        pass
    for number, found in enumerate(re.finditer(rb"data:image/[a-z+]+;base64,([A-Za-z0-9+/=]+)", data)):
        yield from images_in(base64.b64decode(found[1]), f"{where}#{number}")


def shown_in(home: Path, number: int) -> list[str]:
    """Where below `home` the photo can be seen."""
    files = [path for path in sorted(home.rglob("*")) if path.is_file()]
    images = (found for path in files for found in images_in(path.read_bytes(), str(path.relative_to(home))))
    return [where for where, pixels in images if min(pixels.shape[:2]) >= 8 and shows(pixels, number)]


def small(folder: Path) -> Recipe:
    return few_images(SourceConfig(uri=str(folder), name="mine"))


def context(home: Path) -> Context:
    return context_at(home, "takedown", Cadence(log=2, image=2, checkpoint=100_000))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The whole pipeline, once for the module, with a measurement as a study makes it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("raw")
    for number in range(PHOTOS):
        draw(folder / f"p{number:02}.png", number)
    home, recipe = tmp_path_factory.mktemp("takedown") / "home", small(folder)
    ctx = context(home)
    with ctx._stack:
        refs = made_by_every_stage(recipe, ctx)
        judged = gate(recipe, refs, ctx)
        assert judged.decision == "PASS", judged.text
        infer(recipe, ctx)
        publish(recipe, refs, ctx)
        inputs = {name: refs[name] for name in ("shard", "latents", "decoder", "joint")}
        asked = MeasureConfig(label="ours", evaluate=recipe.evaluate)
        launch(MEASURE.request(asked, inputs, ctx.run, name="study", task=recipe.task, seed=0), ctx)
    return Finished(recipe, refs, home)


@pytest.fixture
def pipeline(finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Finished]:
    """The finished pipeline as it was, at the same place, because MLflow keeps absolute paths; put back afterwards."""
    shutil.copytree(finished.home, tmp_path / "kept")
    monkeypatch.setenv("LSR_HOME", str(finished.home))
    yield finished
    shutil.rmtree(finished.home)
    shutil.copytree(tmp_path / "kept", finished.home)


def by_split(pipeline: Finished, split: str) -> list[tuple[str, int]]:
    """(key, number) of the photos of one side."""
    store = open_store(f"file://{pipeline.home}/store")
    rows = index_rows(store, load_manifest(store, pipeline.refs["shard"].path))
    return [(row.key, int(row.source[1:3])) for row in rows if row.split == split]


def places(found: list[str]) -> set[str]:
    """Where, in kinds: top folder and what holds it."""
    kinds = {r"store/blobs/.*\.tar!": "tar", r"store/blobs/.*\.zip!": "zip", r"store/blobs/.*\.png$": "png"}
    kinds |= {r"mlflow-artifacts/.*\.png$": "mlflow png", r"mlflow-artifacts/.*\.html#": "mlflow page"}
    kinds |= {r"output/.*\.html#": "page", r"output/.*\.png$": "output png"}
    return {name for place in found for pattern, name in kinds.items() if re.search(pattern, place)}


def test_after_a_takedown_nothing_decodes_to_a_held_out_photo(pipeline: Finished) -> None:
    (key, number), *_ = by_split(pipeline, "eval")
    before = places(shown_in(pipeline.home, number))
    assert {"tar", "zip", "png", "mlflow page", "page"} <= before
    told = delete(load_settings(), [f"p{number:02}.png"])
    assert shown_in(pipeline.home, number) == []
    assert [text for text in told["remains"] if "MLflow" in text] == []
    # Shards without it stay, and what is left of the others can still be seen.
    assert any(shown_in(pipeline.home, other) for other in range(PHOTOS) if other != number)
    assert key in find(load_settings(), [key])["photos"]


def test_after_a_takedown_nothing_decodes_to_a_photo_that_was_trained_on(pipeline: Finished) -> None:
    seen = {number: places(shown_in(pipeline.home, number)) for _, number in by_split(pipeline, "train")}
    assert set().union(*seen.values()) >= {"tar", "mlflow png"}
    number = max(seen, key=lambda one: ("mlflow png" in seen[one], len(seen[one])))
    delete(load_settings(), [f"p{number:02}.png"])
    assert shown_in(pipeline.home, number) == []


def test_a_second_request_still_knows_lineage_and_versions(pipeline: Finished) -> None:
    (key, number), *_ = by_split(pipeline, "train")
    first = find(load_settings(), [key])
    assert first["versions"] == ["small/1"]
    assert len(first["lineage"]) >= 4
    delete(load_settings(), [key])
    for name in (key, f"p{number:02}.png"):
        again = find(load_settings(), [name])
        assert (again["holds"], again["shown"], again["orphans"], again["unknown"]) == ([], [], [], [])
        assert again["versions"] == first["versions"]
        # The tiles and latents with it are gone; what was trained on them is still named.
        assert {path for path in first["lineage"] if path.startswith("models/")} <= set(again["lineage"])
        assert len(again["taken_down"]) == 1
    record = next((pipeline.home / "store" / "takedowns").iterdir()).read_text()
    assert f"p{number:02}" not in record
    delete(load_settings(), [key])


@pytest.mark.parametrize("after", [0, 1, 3, 6, 9])
def test_a_takedown_that_was_killed_is_finished_by_the_next(
    pipeline: Finished, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed at the n-th deletion from the store; the next run finds what is left, though no manifest names it."""
    from lsr.store.local import LocalStore

    (_, number), *_ = by_split(pipeline, "eval")
    whole, done = LocalStore.delete, []

    def dying(self: LocalStore, key: str) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(key)
        whole(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", dying)
        with pytest.raises(KeyboardInterrupt):
            delete(load_settings(), [f"p{number:02}.png"])
    delete(load_settings(), [f"p{number:02}.png"])
    assert shown_in(pipeline.home, number) == []
