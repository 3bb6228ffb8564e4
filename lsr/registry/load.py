"""A registered version ready to be asked: fetched, every file checked, on its device.

executor, version = load_named(load_settings(), "lsr-demo@champion")
larger = executor.upscale(image, Target(scale=3.7))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lsr.core.settings import Settings
from lsr.inference.config import ExecutorConfig, Precision
from lsr.registry.versions import Version, fetch_version

if TYPE_CHECKING:
    from lsr.inference.executor import Executor


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


def load_named(
    settings: Settings, name: str, config: ExecutorConfig = ExecutorConfig(), precision: Precision = "fp32"
) -> tuple[Executor, Version]:
    """The version that `name`, as `model@alias` or `model/number`, stands for now.

    Raises NotFoundError for a missing one, ConflictError for an alias that disagrees with the promotion log.
    """
    from lsr.registry.aliases import resolve_for_inference
    from lsr.store import open_store

    version = resolve_for_inference(open_store(settings.store), settings.mlflow, settings.prefix + name)
    return load_version(settings.mlflow, version, versions_in(settings.cache), config, precision), version


def versions_in(cache: Path) -> Path:
    """Where fetched versions are kept below the cache folder of a machine."""
    return cache / "versions"
