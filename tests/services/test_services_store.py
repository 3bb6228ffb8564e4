"""The store's contract, the same tests as on a folder and on moto, on a real S3 server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from infra.local.ceph import s3_environment
from infra.local.plan import BUCKET, load_plan

from .conftest import PROJECT, Services

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


def test_the_store_keeps_its_contract_on_a_real_server(services: Services) -> None:
    owner = json.loads((services.folder / "ceph" / "users.json").read_text())["lsr"]
    real = {**s3_environment(load_plan(services.folder), owner), "LSR_TEST_S3_URI": f"s3://{BUCKET}/contract"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "services", "tests/store"]
    done = subprocess.run(command, cwd=PROJECT, env={**os.environ, **real}, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:]
    summary = done.stdout.strip().splitlines()[-1]
    passed = re.search(r"(\d+) passed", summary)
    assert passed is not None
    assert int(passed[1]) >= 60, summary
    assert "skipped" not in summary
