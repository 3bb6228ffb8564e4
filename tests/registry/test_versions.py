"""Registering once, resolving once, fetching checked bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lsr.core.errors import ConflictError, IntegrityError, NotFoundError
from lsr.registry.connect import connect
from lsr.registry.packaging import Package
from lsr.registry.runs import open_run
from lsr.registry.versions import every_version, fetch_version, list_versions, register, resolve, tag_version


@pytest.fixture
def run_id(uri: str) -> str:
    return open_run(uri, experiment="e", key="a" * 64, stage="register")


def test_the_same_content_registers_once(uri: str, run_id: str, package: Callable[[str], Package]) -> None:
    first = register(uri, "m", package("one"), run_id=run_id, tags={"lsr.task": "super-resolution"})
    again = register(uri, "m", Package(path=Path("/gone"), digest=first.digest, files=first.files), run_id=run_id)
    other = register(uri, "m", package("two"), run_id=run_id)
    assert (first.number, again, other.number) == (1, first, 2)
    assert first.tags["lsr.task"] == "super-resolution"
    assert first.run_id == run_id


def test_every_version_is_listed_but_those_of_others(uri: str, run_id: str, package: Callable[[str], Package]) -> None:
    made = [register(uri, name, package(text), run_id=run_id) for name, text in (("b", "1"), ("a", "2"), ("b", "3"))]
    client = connect(uri)
    client.create_registered_model("it's theirs")
    client.create_registered_model("theirs")
    client.create_model_version("theirs", "file:///nowhere")
    assert every_version(uri) == [made[1], made[0], made[2]]


def test_two_processes_registering_at_once_get_one_version(
    uri: str, run_id: str, package: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = package("one")
    from lsr.registry import versions

    upload = versions._upload

    def slow(client: object, *rest: object) -> int:
        monkeypatch.setattr(versions, "_upload", upload)
        assert register(uri, "m", made, run_id=run_id).number == 1
        return upload(client, *rest)

    monkeypatch.setattr(versions, "_upload", slow)
    assert register(uri, "m", made, run_id=run_id).number == 1
    assert [v.number for v in list_versions(uri, "m")] == [1]


def test_fetched_files_are_the_registered_ones(
    uri: str, run_id: str, package: Callable[[str], Package], tmp_path: Path
) -> None:
    version = register(uri, "m", package("one"), run_id=run_id)
    got = fetch_version(uri, version, tmp_path / "cache")
    assert (got.path / "weights.safetensors").read_text() == "one"
    assert (got.digest, got.files) == (version.digest, version.files)
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [got.path.name]
    assert fetch_version(uri, version, tmp_path / "cache") == got


def _stored(uri: str, tmp_path: Path) -> Path:
    (found,) = (tmp_path / "ml" / "mlflow-artifacts").rglob("weights.safetensors")
    return found


@pytest.mark.parametrize("where", ["artifact store", "cache"])
def test_a_changed_weight_is_named_wherever_it_changed(
    uri: str, run_id: str, package: Callable[[str], Package], tmp_path: Path, where: str
) -> None:
    version = register(uri, "m", package("one"), run_id=run_id)
    if where == "cache":
        victim = fetch_version(uri, version, tmp_path / "cache").path / "weights.safetensors"
    else:
        victim = _stored(uri, tmp_path)
    victim.write_text("two")
    with pytest.raises(IntegrityError, match=r"weights\.safetensors is changed"):
        fetch_version(uri, version, tmp_path / "cache")


@pytest.mark.parametrize(("name", "said"), [("lineage.json", "missing"), ("extra.py", "not listed")])
def test_missing_and_smuggled_files_are_rejected(
    uri: str, run_id: str, package: Callable[[str], Package], tmp_path: Path, name: str, said: str
) -> None:
    version = register(uri, "m", package("one"), run_id=run_id)
    path = _stored(uri, tmp_path).with_name(name)
    path.unlink() if path.exists() else path.write_text("import os")
    with pytest.raises(IntegrityError, match=f"{name} is {said}"):
        fetch_version(uri, version, tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())


def test_lost_artifacts_say_so(uri: str, run_id: str, package: Callable[[str], Package], tmp_path: Path) -> None:
    version = register(uri, "m", package("one"), run_id=run_id)
    _stored(uri, tmp_path).with_name("files.json").unlink()
    with pytest.raises(NotFoundError, match=r"has no files\.json"):
        fetch_version(uri, version, tmp_path / "cache")


def test_identity_tags_do_not_change(uri: str, run_id: str, package: Callable[[str], Package]) -> None:
    version = register(uri, "m", package("one"), run_id=run_id)
    tag_version(uri, version, {"lsr.verdict": "d" * 64})
    assert resolve(uri, "m/1").tags["lsr.verdict"] == "d" * 64
    with pytest.raises(ConflictError, match="identity"):
        tag_version(uri, version, {"lsr.digest": "d" * 64})


def test_a_version_made_by_other_tools_is_rejected(uri: str, run_id: str) -> None:
    client = connect(uri)
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source="s3://elsewhere/model", run_id=run_id)
    with pytest.raises(IntegrityError, match="not registered by lsr"):
        resolve(uri, "theirs/1")


def test_importing_the_registry_does_not_import_mlflow() -> None:
    rooms = "lsr.registry.promotion, lsr.registry.aliases, lsr.registry.runs, lsr.registry.tracking"
    code = f"import sys, {rooms}; print([m for m in ('mlflow', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
