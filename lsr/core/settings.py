"""Where things are: the one settings class behind the embedded and the services profile.

Every field is read from one environment variable; nothing else in the project asks "am I local?".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lsr.core.errors import ConfigError

DEFAULT_HOME = "lsr-home"
DEFAULT_CACHE_BYTES = 64 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Addresses of the parts around the code. Secrets are never fields: boto3, Ray and MLflow read their own.

    home: folder below which the embedded profile keeps everything (LSR_HOME).
    store: URI of the object store, `file:///...` or `s3://bucket/prefix` (LSR_STORE).
    mlflow: MLflow tracking URI (MLFLOW_TRACKING_URI).
    prefect_api: Prefect API address, None for the ephemeral server (PREFECT_API_URL).
    ray_jobs: address of a Ray cluster's job server, None to run Ray in this process (LSR_RAY_JOBS_ADDRESS).
    prefix: put before registered-model names, to keep dev, staging and prod apart (LSR_MODEL_PREFIX).
    cache_bytes: what downloaded shards may take in one cache folder (LSR_CACHE_BYTES).
    fetch_private: whether lists of web addresses may lead into private networks and to this machine
    (LSR_FETCH_PRIVATE=1). The surroundings say so and no recipe can.
    """

    home: Path
    store: str
    mlflow: str
    prefect_api: str | None = None
    ray_jobs: str | None = None
    prefix: str = ""
    cache_bytes: int = DEFAULT_CACHE_BYTES
    fetch_private: bool = False

    @property
    def embedded(self) -> bool:
        return self.ray_jobs is None

    @property
    def cache(self) -> Path:
        """Downloaded packages and digest-checked shards; deleting it costs time only."""
        return self.home / "cache"

    @property
    def output(self) -> Path:
        """Images and reports for people."""
        return self.home / "output"


def cache_of_worker(shared: str | None) -> Path:
    """The cache folder of a process that works for another one.

    shared: the cache folder of that one where both run on one machine; None where each machine has its own, which is
    below its own LSR_HOME.
    """
    return load_settings().cache if shared is None else Path(shared)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises ConfigError for an unknown scheme of the store, no size, no switch."""
    env = os.environ if environ is None else environ
    home = Path(env.get("LSR_HOME", DEFAULT_HOME)).absolute()
    store = env.get("LSR_STORE") or f"file://{home / 'store'}"
    if not store.startswith(("file://", "s3://")):
        raise ConfigError(f"LSR_STORE must start with file:// or s3://, found {store!r}.")
    size = env.get("LSR_CACHE_BYTES") or str(DEFAULT_CACHE_BYTES)
    if not size.isdecimal():
        raise ConfigError(f"LSR_CACHE_BYTES must be a whole number of bytes, found {size!r}.")
    private = env.get("LSR_FETCH_PRIVATE") or "0"
    if private not in ("0", "1"):
        raise ConfigError(f"LSR_FETCH_PRIVATE must be 0 or 1, found {private!r}.")
    return Settings(
        home=home,
        store=store.rstrip("/"),
        mlflow=env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}",
        prefect_api=env.get("PREFECT_API_URL") or None,
        ray_jobs=env.get("LSR_RAY_JOBS_ADDRESS") or None,
        prefix=env.get("LSR_MODEL_PREFIX", ""),
        cache_bytes=int(size),
        fetch_private=private == "1",
    )
