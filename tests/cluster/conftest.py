"""One Ray for the whole folder: starting it takes longer than every test that uses it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lsr.cluster.session import Session, ray_session


@pytest.fixture(scope="session")
def ray_home() -> Iterator[Path]:
    """The folder that records the shared Ray; its processes have their home folder in it."""
    with tempfile.TemporaryDirectory(prefix="lsr-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared_ray(ray_home: Path) -> Iterator[Session]:
    """A local Ray with 4 logical CPUs. Leaving it must leave no process and no folder behind."""
    user_home = ray_home / "user"
    user_home.mkdir()
    before, os.environ["HOME"] = os.environ.get("HOME", ""), str(user_home)
    try:
        with ray_session(ray_home, cpus=4) as session:
            # Other tests' own programs (pip asks rustc for its version) are not Ray's.
            os.environ["HOME"] = before
            yield session
    finally:
        os.environ["HOME"] = before
    left = [p for p in psutil.Process().children(recursive=True) if "ray" in p.name().lower() or "gcs" in p.name()]
    assert left == []
    assert session.temp is not None
    assert not session.temp.exists()
    assert list((ray_home / "ray").iterdir()) == []
    assert list(user_home.iterdir()) == [], "Ray must write nothing to the user's home folder"
