"""What software this process runs: the commit of its own source checkout, and the installed packages."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import lsr
from lsr.core.canonical import canonical_json, sha256_hex

DIRTY = "-dirty"
"""Ends a commit from which files of the checkout differ."""

_NAMED = ("torch", "numpy", "pillow", "ray", "mlflow", "prefect", "webdataset", "safetensors")


def commit() -> str | None:
    """Commit of the git checkout that this code is part of, with `-dirty` where files differ from it.

    None for an installed package, and without git.
    """
    root = Path(lsr.__file__).parents[1]
    # Installed as a wheel inside somebody's repository, git would name that one's commit.
    return _described(root) if (root / ".git").exists() else None


def versions() -> dict[str, str]:
    """Version by name of LSR, Python and the packages that results depend on most."""
    found = {"lsr": lsr.__version__, "python": platform.python_version()}
    for name in _NAMED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def packages_digest() -> str:
    """Digest over name and version of every installed distribution: equal sets, equal digest."""
    found = ((one.metadata["Name"], one.version) for one in metadata.distributions())
    return sha256_hex(canonical_json({name.lower(): version for name, version in found if name}))


def _described(root: Path) -> str | None:
    try:
        sha, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return None
    # Files that git does not know count, too: a new module is code that no commit has.
    return f"{sha}{DIRTY}" if changed else sha


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
