"""A version moves between registries as one file, and a file is asked like a version."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import lsr
from lsr.core.canonical import sha256_hex
from lsr.core.errors import InputError, IntegrityError, NotFoundError, VersionMismatchError
from lsr.core.settings import Settings
from lsr.models.file import ModelFile
from lsr.registry.runs import open_run
from lsr.registry.versions import list_versions, read_lineage, register
from lsr.tools.models import export_version, import_version
from tests.registry.test_packaging import build, system_bytes


def registry(home: Path) -> Settings:
    return Settings(home=home, store=f"file://{home}/store", mlflow=f"sqlite:///{home}/mlflow.db")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry with version 1 of model `m`."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("theirs")
    settings = registry(home)
    run = open_run(settings.mlflow, experiment="e", key="a" * 64, stage="register")
    register(settings.mlflow, "m", build(home / "version", *system_bytes(conditional=True)), run_id=run)
    return settings


@pytest.fixture(scope="module")
def file(theirs: Settings) -> Path:
    path = theirs.home / "m.safetensors"
    report = export_version(theirs, "m/1", path, half=False)
    assert report["sha256"] == sha256_hex(path.read_bytes())
    return path


def test_an_imported_version_is_the_exported_one(theirs: Settings, file: Path, tmp_path: Path) -> None:
    ours = registry(tmp_path)
    report = import_version(ours, str(file), "mine")
    (version,) = list_versions(ours.mlflow, "mine")
    assert (report["version"], report["digest"]) == (version.number, version.digest)
    (source,) = list_versions(theirs.mlflow, "m")
    assert version.digest == source.digest
    assert version.tags["lsr.imported"] == sha256_hex(file.read_bytes())
    assert read_lineage(ours.mlflow, version) == read_lineage(theirs.mlflow, source)
    assert import_version(ours, str(file), "mine")["version"] == version.number, "the same file is not registered twice"


def test_a_file_answers_as_the_version_does(theirs: Settings, file: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    of_file, of_version = lsr.load(str(file), settings=theirs), lsr.load("m/1", settings=theirs)
    assert of_file.digest == sha256_hex(file.read_bytes())
    assert of_file.name == str(file)
    np.testing.assert_array_equal(of_file.upscale(image, scale=2.5), of_version.upscale(image, scale=2.5))


def test_a_file_holds_its_card_and_lineage_and_no_code(theirs: Settings, file: Path) -> None:
    held = ModelFile.from_bytes(file.read_bytes(), "m")
    assert held.card.startswith("# m\n")
    assert json.loads(held.lineage)["seed"] == 7
    with safetensors.safe_open(file, "pt") as opened:
        assert list(opened.metadata()) == ["lsr"]


def damaged(data: bytes) -> dict[str, tuple[bytes, type[Exception], str]]:
    tensors = safetensors.torch.load(data)
    foreign = safetensors.torch.save(tensors, metadata={"lsr": json.dumps({"format": 9})})
    bare = safetensors.torch.save(tensors, metadata={"lsr": json.dumps({"format": 1, "card": ""})})
    return {
        "empty": (b"", IntegrityError, "not a safetensors file or was cut off"),
        "header cut": (data[:100], IntegrityError, "cut off"),
        "weights cut": (data[:-5], IntegrityError, "damaged"),
        "no header": (b"\x02" + b"\0" * 7 + b"{]", IntegrityError, "not a safetensors file"),
        "others' file": (safetensors.torch.save(tensors), VersionMismatchError, "no LSR model file"),
        "another format": (foreign, VersionMismatchError, "found 9"),
        "fields missing": (bare, IntegrityError, "lacks config, lineage"),
    }


@pytest.mark.parametrize("how", damaged(safetensors.torch.save({"a": torch.zeros(2)})))
def test_what_is_no_model_file_is_named(file: Path, tmp_path: Path, how: str) -> None:
    data, error, said = damaged(file.read_bytes())[how]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(error, match=said):
        import_version(registry(tmp_path), str(path), "mine")
    assert not (tmp_path / "mlflow.db").exists()


def test_weights_of_another_architecture_are_not_registered(file: Path, tmp_path: Path) -> None:
    held = ModelFile.from_bytes(file.read_bytes(), "m")
    tensors = safetensors.torch.load(held.weights)
    tensors.pop(sorted(tensors)[0])
    path = tmp_path / "bad.safetensors"
    lacking = ModelFile(
        config=held.config, weights=safetensors.torch.save(tensors), card=held.card, lineage=held.lineage
    )
    path.write_bytes(lacking.to_bytes())
    with pytest.raises(IntegrityError, match="lacks"):
        import_version(registry(tmp_path), str(path), "mine")


def test_what_cannot_be_exported_or_imported_is_said(theirs: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends with \.safetensors"):
        export_version(theirs, "m/1", tmp_path / "m.pt", half=False)
    with pytest.raises(NotFoundError, match="no version 2"):
        export_version(theirs, "m/2", tmp_path / "m.safetensors", half=False)
    with pytest.raises(InputError, match="model file or the name of a shipped model"):
        import_version(theirs, "m@champion", "mine")
    with pytest.raises(NotFoundError, match="no model file"):
        import_version(theirs, str(tmp_path / "gone.safetensors"), "mine")
