"""The real services, started once for the folder by `python -m infra.services up` and stopped at its end.

Where their programs are not installed, the tests are skipped, which `make test-services` counts as failed.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lsr.core.settings import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[2]
TEST_PACKAGES = ("docker-compose",)
NEEDED = ("radosgw", "ceph-mon", "ceph-osd", "ceph-authtool")


@dataclass(frozen=True)
class Services:
    """What runs. env: the variables of services.env; pids: of each service's first process."""

    folder: Path
    env: dict[str, str]
    pids: dict[str, int]


def infra(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m infra.services` as a person would call it."""
    arguments = [sys.executable, "-m", "infra.services", command, "--dir", str(folder), "--json"]
    return subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, check=False)


def require(*missing: str) -> None:
    """Skip where one of these programs is not installed."""
    missing = tuple(name for name in missing if shutil.which(name) is None)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; run `sudo infra/apt.sh {' '.join(TEST_PACKAGES)}`")


def require_programs() -> None:
    """The servers' programs."""
    postgres = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    require(*NEEDED, *(postgres[-1:] or ["initdb"]))


def short_folder() -> Path:
    """A folder with a short name: sockets are made below it."""
    return Path(tempfile.mkdtemp(prefix="lsr-s-", dir="/tmp"))


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """S3, PostgreSQL, MLflow, Prefect with a worker, and Ray. Stopping them must leave no process."""
    require_programs()
    folder = short_folder()
    try:
        started = infra("up", folder)
        assert started.returncode == 0, started.stderr
        report = json.loads(started.stdout)
        lines = (folder / "services.env").read_text().splitlines()
        env = {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in lines)}
        pids = {name: each["pid"] for name, each in report["services"].items()}
        yield Services(folder=folder, env=env, pids=pids)
        trees = [
            p for pid in pids.values() for p in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
        ]
        stopped = infra("down", folder)
        assert stopped.returncode == 0, stopped.stderr
        assert json.loads(stopped.stdout)["stopped"] == list(reversed(pids))
        left = [p for p in trees if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert left == [], f"`down` left processes: {left}"
        assert not (folder / "services.env").exists()
    finally:
        infra("down", folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def service_settings(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """This test's environment points at the services, as `. DIR/services.env` makes a shell's."""
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "lsr"))
    return load_settings()
