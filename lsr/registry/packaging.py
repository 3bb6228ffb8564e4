"""A model version as a folder: weights, config, the code to run them, requirements, card and lineage.

The folder is a models-from-code pyfunc: MLflow runs a script that it carries and reads safetensors and JSON; no pickle.
Equal inputs and code give equal bytes in every file but lineage and card, so that one digest names the version wherever
it is built.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lsr
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import from_plain
from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.core.files import file_sha256
from lsr.diffusion.config import SamplerConfig
from lsr.registry.connect import ENVIRONMENT

FORMAT = 1
FILES, LINEAGE, CARD = "files.json", "lineage.json", "README.md"
PROVENANCE = frozenset({FILES, LINEAGE, CARD})
"""Files that say who made the version when; they are checked like all others but are no part of its identity."""

CODE = ("core", "nn", "diffusion", "models", "inference")
REQUIREMENTS = (
    "annotated-types",
    "mlflow-skinny",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "rfc8785",
    "safetensors",
    "torch",
)
SCRIPT = "pyfunc_model.py"
CONFIG, WEIGHTS = "artifacts/config.json", "artifacts/weights.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A built or fetched version folder. digest: its identity, sha256 over the sha256 of every file but lineage and
    card. files: sha256 of `files.json`, which covers every file.
    """

    path: Path
    digest: str
    files: str

    @property
    def config(self) -> bytes:
        return (self.path / CONFIG).read_bytes()

    @property
    def weights(self) -> bytes:
        return (self.path / WEIGHTS).read_bytes()

    @property
    def card(self) -> str:
        return (self.path / CARD).read_text()

    @property
    def lineage(self) -> bytes:
        return (self.path / LINEAGE).read_bytes()


def build_package(path: Path, *, config: bytes, weights: bytes, card: str, lineage: bytes) -> Package:
    """Make the version folder at `path`, which must not exist.

    config, weights: from lsr.models' save_system. lineage: of `Lineage.to_bytes`.
    """
    with tempfile.TemporaryDirectory() as temp:
        staging = Path(temp)
        (staging / "config.json").write_bytes(config)
        (staging / "weights.safetensors").write_bytes(weights)
        _copy_code(staging / "lsr")
        system = json.loads(config)["config"]
        sampler = from_plain(SamplerConfig, system.get("sampler", {}))
        _save_pyfunc(path, staging, _signature(bool(system["conditional"]), sampler))
    _strip_volatile(path)
    (path / CARD).write_text(card)
    (path / LINEAGE).write_bytes(lineage)
    listing = {name: file_sha256(file) for name, file in _walk(path)}
    (path / FILES).write_bytes(canonical_json({"format": FORMAT, "sha256": listing}))
    return Package(path=path, digest=_identity(listing), files=file_sha256(path / FILES))


def open_package(path: Path, *, digest: str, files: str, where: str) -> Package:
    """The version folder at `path` after every file was checked. digest, files: what the registry says of it.

    Raises IntegrityError naming the first file that is missing, extra or different, NotFoundError without a listing.
    """
    listed = path / FILES
    if not listed.is_file():
        raise NotFoundError(f"{where} has no {FILES}; it was not packaged by lsr, register it again.")
    if file_sha256(listed) != files:
        raise IntegrityError(f"{where}: {FILES} was changed after registration; do not use it, register it again.")
    record = json.loads(listed.read_bytes())
    if record.get("format") != FORMAT:
        raise VersionMismatchError(f"{where} has package format {record.get('format')!r}, this code reads {FORMAT}.")
    expected: dict[str, str] = record["sha256"]
    found = {name: file_sha256(file) for name, file in _walk(path) if name != FILES}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        state = "missing" if wrong[0] not in found else "not listed" if wrong[0] not in expected else "changed"
        raise IntegrityError(
            f"{where}: {wrong[0]} is {state} ({len(wrong)} file(s) differ from {FILES}); fetch or register it again."
        )
    if _identity(expected) != digest:
        raise IntegrityError(f"{where} has digest {_identity(expected)[:12]}, the registry says {digest[:12]}.")
    return Package(path=path, digest=digest, files=files)


def requirements() -> list[str]:
    """What a version needs, pinned to what is installed here, public versions only (no `+cpu`)."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _identity(listing: Mapping[str, str]) -> str:
    return sha256_hex(canonical_json({name: sha for name, sha in listing.items() if name not in PROVENANCE}))


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file


def _copy_code(target: Path) -> None:
    """The parts of this very lsr that inference needs, sources only."""
    root = Path(lsr.__file__).parent
    target.mkdir()
    shutil.copy(root / "__init__.py", target)
    for package in CODE:
        shutil.copytree(root / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _save_pyfunc(path: Path, staging: Path, signature: Any) -> None:
    os.environ.update(ENVIRONMENT)
    import mlflow.pyfunc

    with warnings.catch_warnings():
        # Advice on type hints and input examples; the signature below is explicit.
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(Path(__file__).with_name(SCRIPT)),
            artifacts={"config": str(staging / "config.json"), "weights": str(staging / "weights.safetensors")},
            code_paths=[str(staging / "lsr")],
            signature=signature,
            pip_requirements=requirements(),
        )


def _signature(conditional: bool, sampler: SamplerConfig) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    inputs = [("binary", "image"), ("double", "scale")] if conditional else [("long", "side"), ("long", "seed")]
    settings = [
        ParamSpec("steps", "long", sampler.steps),
        ParamSpec("eta", "double", sampler.eta),
        ParamSpec("sampler", "string", sampler.name),
    ]
    if conditional:
        settings += [ParamSpec("seed", "long", sampler.seed), ParamSpec("fidelity", "double", sampler.fidelity)]
    return ModelSignature(
        inputs=Schema([ColSpec(*column) for column in inputs]),
        outputs=Schema([ColSpec("binary", "png")]),
        params=ParamSchema(settings),
    )


def _strip_volatile(path: Path) -> None:
    """Remove from MLflow's description what changes from build to build: times, random ids, temporary paths."""
    import yaml  # type: ignore[import-untyped]

    file = path / "MLmodel"
    model = yaml.safe_load(file.read_text())
    for volatile in ("utc_time_created", "model_uuid", "model_id", "model_size_bytes"):
        model.pop(volatile, None)
    flavor = model["flavors"]["python_function"]
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    flavor["model_code_path"] = SCRIPT
    flavor["env"] = {"virtualenv": "python_env.yaml"}
    (path / "conda.yaml").unlink()
    file.write_text(yaml.safe_dump(model, sort_keys=True))
