"""A fresh MLflow database for each test (migrations run once), and stand-ins for what other rooms make."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lsr.core.canonical import canonical_json
from lsr.core.files import file_sha256
from lsr.evaluation.verdict import Candidate, Line, Verdict
from lsr.registry.connect import connect
from lsr.registry.packaging import FILES, Package, _identity, _walk
from lsr.registry.runs import open_run
from lsr.registry.versions import Version, register
from lsr.store import Store, open_store


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated database file."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(migrated: Path, tmp_path: Path) -> str:
    """A tracking address of this test alone."""
    folder = tmp_path / "ml"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def package(tmp_path: Path) -> Callable[[str], Package]:
    """Makes a package folder with the given text as its only content: what the registry needs to know of one."""

    def make(text: str) -> Package:
        path = tmp_path / f"package-{text}"
        path.mkdir()
        (path / "weights.safetensors").write_text(text)
        (path / "lineage.json").write_text("{}")
        listing = {name: file_sha256(file) for name, file in _walk(path)}
        (path / FILES).write_bytes(canonical_json({"format": 1, "sha256": listing}))
        return Package(path=path, digest=_identity(listing), files=file_sha256(path / FILES))

    return make


@pytest.fixture
def registered(uri: str, package: Callable[[str], Package]) -> Callable[..., list[Version]]:
    """Registers n versions of model `m`."""

    def make(count: int) -> list[Version]:
        run_id = open_run(uri, experiment="e", key="k" * 64, stage="register")
        return [register(uri, "m", package(f"v{i + 1}"), run_id=run_id) for i in range(count)]

    return make


def candidate(version: Version) -> Candidate:
    return Candidate(model=version.name, version=version.number, digest=version.digest)


def verdict(version: Version, champion: Version | None = None, decision: str = "PASS") -> Verdict:
    """A verdict on `version` with one line that says why."""
    line = Line(
        rule="psnr - bicubic > 0 (all)",
        decision=decision,  # type: ignore[arg-type]
        effect=1.0,
        low=0.5,
        high=1.5,
        above=0.0,
        n=8,
        reason=f"psnr: {decision}.",
    )
    return Verdict(
        decision=decision,  # type: ignore[arg-type]
        candidate=candidate(version),
        champion=candidate(champion) if champion else None,
        evaluation="0" * 64,
        champion_evaluation="1" * 64 if champion else None,
        gate={"confidence": 0.95},
        lines=(line,),
    )


@pytest.fixture
def judged() -> Callable[..., Verdict]:
    return verdict
