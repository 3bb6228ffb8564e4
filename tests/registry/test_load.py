"""A registered version from Python: the README's own lines, run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lsr
from lsr.core.errors import ConfigError, InputError, NotFoundError
from lsr.core.settings import load_settings
from lsr.diffusion.config import SamplerConfig
from lsr.inference.request import Target
from lsr.registry.aliases import reconcile
from lsr.registry.promotion import promote, put_verdict
from lsr.registry.runs import open_run
from lsr.registry.versions import register
from lsr.store import open_store
from tests.registry.conftest import verdict
from tests.registry.test_packaging import build, system_bytes

README = Path(__file__).parents[2] / "README.md"
MODEL = "lsr-demo"


@pytest.fixture
def champion(migrated: Path, tmp_path: Path) -> str:
    """A small version of the model that the README names, registered and promoted in the home of this test alone."""
    settings = load_settings()
    settings.home.mkdir(parents=True)
    shutil.copy(migrated, settings.home / "mlflow.db")
    package = build(tmp_path / "version", *system_bytes(conditional=True))
    run_id = open_run(settings.mlflow, experiment="e", key="k" * 64, stage="register")
    version = register(settings.mlflow, MODEL, package, run_id=run_id)
    store = open_store(settings.store)
    promote(store, version, put_verdict(store, verdict(version)), who="ada")
    reconcile(store, settings.mlflow, MODEL)
    return str(version)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def test_the_lines_of_the_readme_make_a_larger_image(
    champion: str, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = re.findall(r"^## From Python\n\n```python\n(.*?)```", README.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("photo.jpg")
    exec(compile(snippet, "README.md", "exec"), {})
    with Image.open("larger.png") as larger:
        assert larger.size == (round(10 * 3.7), round(12 * 3.7))


def test_a_loaded_version_says_which_it_is_and_answers_as_its_executor_does(champion: str, photo: np.ndarray) -> None:
    model = lsr.load(f"{MODEL}@champion")
    assert model.name == champion == f"{MODEL}/1"
    assert len(model.digest) == 64
    assert lsr.load(champion).digest == model.digest
    few = SamplerConfig(steps=2, seed=3)
    made = model.upscale(photo, size=(20, 30), sampler=few)
    np.testing.assert_array_equal(made, model.executor.upscale_all([photo], [Target(size=(20, 30))], few)[0][0])
    assert not np.array_equal(made, model.upscale(photo, size=(20, 30), sampler=replace(few, seed=4)))


def test_what_cannot_be_answered_is_said(champion: str, photo: np.ndarray) -> None:
    model = lsr.load(champion)
    with pytest.raises(InputError, match="uint8"):
        model.upscale(photo.astype(np.float32), scale=2)
    with pytest.raises(InputError, match="scale or a size"):
        model.upscale(photo)
    with pytest.raises(InputError, match="LR condition"):
        model.generate((16, 16), sampler=SamplerConfig(steps=2))
    with pytest.raises(NotFoundError, match="no alias"):
        lsr.load(f"{MODEL}@nobody")
    with pytest.raises(ConfigError, match="name@alias"):
        lsr.load(MODEL)


def test_importing_lsr_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import lsr, sys; assert not {'torch', 'mlflow', 'numpy', 'lsr.tools'} & set(sys.modules); lsr.__version__"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        lsr.lod  # noqa: B018
