"""Shared fixtures: nothing a test does may reach the home folder, the network or another test's state."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

# Property tests run on loaded machines too: slow is no fault there.
settings.register_profile("lsr", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lsr")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped fails")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which --no-skips does not allow: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests do not leak in, and defaults point into a temporary folder."""
    home = tmp_path_factory.mktemp("home")
    for name in ("LSR_STORE", "LSR_RAY_JOBS_ADDRESS", "LSR_MODEL_PREFIX", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LSR_HOME", str(home / "lsr"))
    monkeypatch.setenv("PREFECT_HOME", str(home / "prefect"))


@pytest.fixture
def store_uri(tmp_path: Path) -> str:
    """A fresh store in a folder."""
    return f"file://{tmp_path / 'store'}"
