"""The lineage tuple of a model version (platform.md E3) and what this process can say about itself."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lsr.core.canonical import canonical_json, sha256_hex


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a model version comes from. Every field is stated; None means that there was none or it is not known.

    git_sha, git_dirty: of the code. config: sha256 of the recipe's canonical JSON. raw, tiles, latents: manifest
    digests. autoencoder: digest of the autoencoder's result. packages: digest of the installed set. image: of the
    container. world_size, batch, seed: of the last training stage. mlflow_run, ray_submission, prefect_flow_run: ids.
    evaluation: digest of the held-out set's manifest. weights: sha256 by file name. The gate's verdict is decided
    after registration and is the version's tag `lsr.verdict`.
    """

    git_sha: str | None
    git_dirty: bool | None
    config: str | None
    raw: str | None
    tiles: str | None
    latents: str | None
    autoencoder: str | None
    packages: str | None
    image: str | None
    world_size: int | None
    batch: int | None
    seed: int | None
    mlflow_run: str | None
    ray_submission: str | None
    prefect_flow_run: str | None
    evaluation: str | None
    weights: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(asdict(self))


def installed_packages() -> dict[str, str]:
    """Name (lower case) to version of every installed distribution."""
    found = ((d.metadata["Name"], d.version) for d in importlib.metadata.distributions())
    return dict(sorted((name.lower(), version) for name, version in found if name))


def packages_digest() -> str:
    """Digest of the installed set: equal sets, equal digest."""
    return sha256_hex(canonical_json(installed_packages()))


def code_state(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, whether files differ from it) of the git checkout around `folder`; (None, None) without one or git."""
    try:
        sha = _git(folder, "rev-parse", "HEAD")
        return sha, bool(_git(folder, "status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
