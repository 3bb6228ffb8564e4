"""A model ready to be asked: fetched, every file checked, on its device.

executor, version = load_named(load_settings(), "lsr-demo@champion")
larger = executor.upscale(image, Target(scale=3.7))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.assets import MODELS, SHIPPED
from lsr.core.errors import NotFoundError
from lsr.core.settings import Settings
from lsr.inference.config import ExecutorConfig, Precision
from lsr.registry.packaging import Package
from lsr.registry.versions import Version, fetch_version

if TYPE_CHECKING:
    from lsr.inference.executor import Executor
    from lsr.models.file import ModelFile


def load_version(
    uri: str, version: Version, cache: Path, config: ExecutorConfig = ExecutorConfig(), precision: Precision = "fp32"
) -> Executor:
    """The system that this very version holds, fetched into `cache` once per node. uri: of the registry.

    Raises IntegrityError for a file that was changed, ConfigError for a device that is not here.
    """
    # torch takes seconds to import, and reading the registry does not need it.
    from lsr.inference.executor import Executor
    from lsr.models.system import load_system

    package = fetch_version(uri, version, cache)
    return Executor(load_system(package.config, package.weights, str(version)), config, precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileModel:
    """A model that is not from the registry: a file, or one that ships with the project. digest: sha256 of the file."""

    name: str
    digest: str

    def __str__(self) -> str:
        return self.name


def load_named(
    settings: Settings, name: str, config: ExecutorConfig = ExecutorConfig(), precision: Precision = "fp32"
) -> tuple[Executor, Version | FileModel]:
    """The model that `name` stands for now: `model@alias` or `model/number` of the registry, a model file, or one of
    SHIPPED.

    Raises NotFoundError for a missing one, ConflictError for an alias that disagrees with the promotion log,
    IntegrityError for a damaged file.
    """
    from lsr.inference.executor import Executor

    if (found := model_file(name)) is not None:
        system = found.load(name)
        return Executor(system, config, precision), FileModel(name=name, digest=found.digest)
    version = resolve_named(settings, name)
    return load_version(settings.mlflow, version, versions_in(settings.cache), config, precision), version


def model_bytes(settings: Settings, name: str) -> tuple[bytes, bytes]:
    """Config and weights, as `load_system` takes them, of the model that `name` stands for. Raises as `load_named`."""
    if (found := model_file(name)) is not None:
        return found.config, found.weights
    _, package = fetch_named(settings, name)
    return package.config, package.weights


def fetch_named(settings: Settings, name: str) -> tuple[Version, Package]:
    """The registered version that `name` stands for now, and its folder on this machine. Raises as `load_named`."""
    version = resolve_named(settings, name)
    return version, fetch_version(settings.mlflow, version, versions_in(settings.cache))


def resolve_named(settings: Settings, name: str) -> Version:
    """The registered version that `model@alias` or `model/number` stands for now. Raises as `load_named`."""
    from lsr.registry.aliases import resolve_for_inference
    from lsr.store import open_store

    return resolve_for_inference(open_store(settings.store), settings.mlflow, settings.prefix + name)


def model_file(name: str) -> ModelFile | None:
    """The model file that `name` is the path of, or that ships under this name; None for a name of the registry.

    Raises NotFoundError for a path where there is none.
    """
    from lsr.models.file import SUFFIX, ModelFile

    if name not in SHIPPED and not name.endswith(SUFFIX):
        return None
    path = MODELS / f"{name}{SUFFIX}" if name in SHIPPED else Path(name)
    try:
        return ModelFile.from_bytes(path.read_bytes(), name)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no model file {path}.") from error


def versions_in(cache: Path) -> Path:
    """Where fetched versions are kept below the cache folder of a machine."""
    return cache / "versions"
