"""What a user can cause reaches the terminal of `lsr retrain` as one sentence, also through Prefect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_stage_that_fails_in_the_flow_is_told_once_and_leaves_no_result(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.jpg").write_text("hello")
    (folder / "b.png").write_bytes(b"")
    home = tmp_path / "home"
    words = ["retrain", "--recipe", "short", "--set", f"source.uri={folder}", "--set", "source.name=mine", "--json"]
    ended = subprocess.run(
        [sys.executable, "-c", "from lsr.cli import main; main()", *words],
        env={**os.environ, "LSR_HOME": str(home), "PREFECT_HOME": str(home / "prefect")},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 3
    assert ended.stderr.startswith("error: 2 of 2 images are rejected")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""
    assert not [path for name in ("actions", "datasets") for path in (home / "store" / name).rglob("*.json")]
