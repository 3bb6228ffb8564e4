"""A model version is self-contained: its own code, weights, requirements; no pickle, no trace of where it was built."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.core.settings import Settings
from lsr.diffusion.config import SamplerConfig
from lsr.inference.config import ExecutorConfig
from lsr.inference.executor import Executor
from lsr.inference.request import Target
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, SystemConfig, UNetConfig
from lsr.models.system import LatentSystem, load_system, save_system
from lsr.registry.card import Card, Source
from lsr.registry.lineage import Lineage, Registration, Training, TrainingAttempt
from lsr.registry.load import load_named
from lsr.registry.packaging import CODE, Package, build_package, open_package, requirements
from lsr.registry.runs import open_run
from lsr.registry.versions import fetch_version, register
from tests.inference.kit import upscale

ATTEMPT = TrainingAttempt(
    key="k" * 64,
    attempt=2,
    submission="joint-k-a2",
    started_at=1.0,
    commit="abc",
    packages="p" * 64,
    versions={"torch": "2"},
    environment={"world size": "2"},
    run={"workers": 2},
    ids={"mlflow_run": "m"},
    images_per_second=3.5,
)


def system_bytes(conditional: bool) -> tuple[bytes, bytes]:
    config = SystemConfig(
        autoencoder=AutoencoderConfig(channels=8, multipliers=(1, 1), blocks=1, latent_channels=2),
        renderer=RendererConfig(hidden=(8,)),
        unet=UNetConfig(channels=8, multipliers=(1,), blocks=1, attention_factors=(), head_channels=8),
        diffusion=DiffusionConfig(steps=10),
        conditional=conditional,
        base_scale=2,
        latent_side=8,
    )
    return save_system(LatentSystem(config).state_dict(), config)


def card(report: str = "") -> str:
    sources = [Source(name="photos", licence="CC0-1.0", origin="set:photos")]
    facts = {"steps": "400"}
    return Card(name="m", task="super-resolution", facts=facts, sources=sources, report=report).markdown()


def build(path: Path, config_json: bytes, tensors: bytes, run: str = "one run") -> Package:
    stated = Lineage(
        config="c" * 64,
        seed=7,
        inputs={"joint": "j" * 64},
        trainings={"joint": Training(result="j" * 64, steps=10, images_seen=40, batch=4, attempts=[ATTEMPT])},
        registration=Registration(commit=None, packages="q" * 64, ids={"mlflow_run": run}),
        weights={"weights.safetensors": "0" * 64},
    )
    return build_package(path, config=config_json, weights=tensors, card=card(), lineage=stated.to_bytes())


@pytest.fixture(scope="module")
def saved() -> tuple[bytes, bytes]:
    return system_bytes(conditional=True)


@pytest.fixture(scope="module")
def package(saved: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory) -> Package:
    return build(tmp_path_factory.mktemp("package") / "version", *saved)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_one_system_has_one_digest_wherever_and_whenever_it_is_built(
    saved: tuple[bytes, bytes], package: Package, tmp_path: Path
) -> None:
    again = build(tmp_path / "elsewhere", *saved, run="another run")
    assert again.digest == package.digest
    assert again.files != package.files
    other = build(tmp_path / "other", saved[0], system_bytes(conditional=True)[1])
    assert other.digest != package.digest


def test_nothing_in_it_is_pickled_and_nothing_tells_where_it_was_built(package: Package) -> None:
    names = [p.name for p in package.path.rglob("*") if p.is_file()]
    assert not [n for n in names if n.endswith((".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".pyc"))]
    for file in package.path.rglob("*"):
        if file.is_file():
            text = file.read_bytes()
            assert b"/tmp" not in text or file.suffix == ".py"
            assert not text.startswith(b"\x80\x04")


def test_requirements_are_exact_public_versions(package: Package) -> None:
    lines = (package.path / "requirements.txt").read_text().split()
    assert sorted(lines) == sorted(requirements())
    assert all("==" in line and "+" not in line for line in lines)
    assert any(line.startswith("torch==") for line in lines)


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_code_it_carries_imports_nothing_that_it_lacks(package: Package) -> None:
    carried = {"lsr", *(f"lsr.{room}" for room in CODE)}
    libraries = {"torch", "numpy", "PIL", "safetensors", "rfc8785", "mlflow", "pandas", "pydantic", "annotated_types"}
    known = libraries | sys.stdlib_module_names
    # Of modules that answering a request does not import.
    known |= {"rich", "psutil"}
    for file in [*package.path.glob("code/lsr/**/*.py"), package.path / "pyfunc_model.py"]:
        for module in _imports(file):
            top = ".".join(module.split(".")[:2])
            assert top in carried or module.split(".")[0] in known, f"{file.name} imports {module}"


def test_card_and_lineage_say_what_it_is_and_where_it_comes_from(tmp_path: Path, saved: tuple[bytes, bytes]) -> None:
    page = card(report="# Evaluation\n\n| scale |\n")
    assert "| photos | CC0-1.0 | set:photos |" in page
    assert "\n## Evaluation\n" in page
    assert "load_model" in page
    built = build(tmp_path / "v", *saved)
    lineage = json.loads((built.path / "lineage.json").read_bytes())
    assert lineage.keys() == Lineage.__dataclass_fields__.keys()
    (attempt,) = lineage["trainings"]["joint"]["attempts"]
    assert (attempt["commit"], attempt["environment"], attempt["images_per_second"]) == (
        "abc",
        {"world size": "2"},
        3.5,
    )
    assert lineage["registration"] == {"commit": None, "packages": "q" * 64, "ids": {"mlflow_run": "one run"}}


def test_a_version_answers_as_the_system_it_was_made_from(
    saved: tuple[bytes, bytes], package: Package, photo: np.ndarray
) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(package.path))
    rows = pd.DataFrame({"image": [png(photo)], "scale": [2.5]})
    (answer,) = model.predict(rows, params={"steps": 2, "eta": 0.5, "seed": 3})
    expected = upscale(load_system(*saved), photo, scale=2.5, steps=2, eta=0.5, seed=3)
    np.testing.assert_array_equal(pixels(answer), expected)
    assert pixels(answer).shape == (30, 25, 3)


def test_a_version_takes_the_sampler_and_rejects_what_is_no_image(
    saved: tuple[bytes, bytes], package: Package, photo: np.ndarray
) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(package.path))
    rows = pd.DataFrame({"image": [png(photo)], "scale": [2.5]})
    (answer,) = model.predict(rows, params={"steps": 3, "sampler": "dpm++", "seed": 3})
    expected = upscale(load_system(*saved), photo, scale=2.5, steps=3, name="dpm++", seed=3)
    np.testing.assert_array_equal(pixels(answer), expected)
    for image, scale, said in (
        (b"no image", 2.0, "The image is not an image of a known format"),
        (png(photo), float("nan"), "scale must be a finite number above 0"),
        (png(photo)[: len(png(photo)) // 2], 2.0, "The image does not decode: OSError"),
    ):
        with pytest.raises(Exception, match=said):
            model.predict(pd.DataFrame({"image": [image], "scale": [scale]}))
    with pytest.raises(Exception, match="name must be 'ddim'"):
        model.predict(rows, params={"sampler": "other"})


def test_an_image_is_turned_upright_as_its_exif_tag_says(
    saved: tuple[bytes, bytes], package: Package, photo: np.ndarray
) -> None:
    import mlflow.pyfunc

    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(photo)).save(buffer, "PNG", exif=exif)
    model = mlflow.pyfunc.load_model(str(package.path))
    (answer,) = model.predict(pd.DataFrame({"image": [buffer.getvalue()], "scale": [1.5]}), params={"steps": 1})
    np.testing.assert_array_equal(pixels(answer), upscale(load_system(*saved), photo, scale=1.5, steps=1))


def test_a_generator_draws_by_size_and_seed(tmp_path: Path) -> None:
    import mlflow.pyfunc

    config, weights = system_bytes(conditional=False)
    model = mlflow.pyfunc.load_model(str(build(tmp_path / "v", config, weights).path))
    answers = model.predict(pd.DataFrame({"side": [24, 24, 24], "seed": [1, 1, 2]}), params={"steps": 2})
    one, same, other = (pixels(answer) for answer in answers)
    assert one.shape == (24, 24, 3)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    expected = Executor(load_system(config, weights)).generate((24, 24), 1, SamplerConfig(steps=2, seed=1))[0]
    np.testing.assert_array_equal(one, expected)


def test_a_package_of_another_format_or_with_a_false_name_is_rejected(package: Package, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="the registry says 000000"):
        open_package(package.path, digest="0" * 64, files=package.files, where="m/1")
    with pytest.raises(IntegrityError, match=r"files\.json was changed"):
        open_package(package.path, digest=package.digest, files="0" * 64, where="m/1")
    listing = tmp_path / "files.json"
    listing.write_text('{"format": 9}')
    from lsr.core.files import file_sha256

    with pytest.raises(VersionMismatchError, match="format 9"):
        open_package(tmp_path, digest="0" * 64, files=file_sha256(listing), where="m/1")


def test_a_registered_version_is_loaded_by_name_and_ready_to_be_asked(
    saved: tuple[bytes, bytes], package: Package, uri: str, tmp_path: Path, photo: np.ndarray
) -> None:
    version = register(uri, "m", package, run_id=open_run(uri, experiment="e", key="a" * 64, stage="register"))
    settings = Settings(home=tmp_path, store=f"file://{tmp_path}/store", mlflow=uri)
    executor, found = load_named(settings, "m/1", ExecutorConfig(device="cpu"), "bf16")
    assert (found.number, found.digest) == (version.number, package.digest)
    assert (executor.device.type, executor.precision) == ("cpu", "bf16")
    executor, _ = load_named(settings, "m/1")
    sampler = SamplerConfig(steps=2, eta=0.5, seed=3)
    expected = upscale(load_system(*saved), photo, scale=2.5, steps=2, eta=0.5, seed=3)
    np.testing.assert_array_equal(executor.upscale(photo, Target(scale=2.5), sampler), expected)


CLEAN = """
import sys
import mlflow.pyfunc, numpy, pandas
folder, photo, answer = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
rows = pandas.DataFrame({"image": [open(photo, "rb").read()], "scale": [2.5]})
open(answer, "wb").write(model.predict(rows, params={"steps": 2, "seed": 3})[0])
import lsr
assert lsr.__file__.startswith(folder), lsr.__file__
assert not {"ray", "prefect", "boto3"} & set(sys.modules)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_registered_version_works_in_a_new_environment_made_from_its_own_requirements(
    saved: tuple[bytes, bytes], package: Package, uri: str, tmp_path: Path, photo: np.ndarray
) -> None:
    """Clean process: nothing of this checkout or environment, pickle forbidden, the same answer."""
    run_id = open_run(uri, experiment="e", key="a" * 64, stage="register")
    fetched = fetch_version(uri, register(uri, "m", package, run_id=run_id), tmp_path / "cache")
    (tmp_path / "photo.png").write_bytes(png(photo))
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [str(python), "-m", "pip", "install", "-q", "-r", str(fetched.path / "requirements.txt")]
    subprocess.run(install, check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LSR", "MLFLOW"))}
    clean |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "HOME": str(tmp_path)}
    words = [str(fetched.path), str(tmp_path / "photo.png"), str(tmp_path / "answer.png")]
    subprocess.run([str(python), "-c", CLEAN, *words], check=True, cwd=tmp_path, env=clean)
    expected = upscale(load_system(*saved), photo, scale=2.5, steps=2, seed=3)
    np.testing.assert_array_equal(pixels((tmp_path / "answer.png").read_bytes()), expected)
