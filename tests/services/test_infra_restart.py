"""Stopped services keep their data for the next start in the same folder."""

from __future__ import annotations

import shutil

import boto3
import pytest

from infra.local.ceph import s3_environment, start_s3
from infra.local.plan import BUCKET, load_plan
from infra.local.postgres import start_postgres
from infra.local.supervisor import Supervisor, stop_all

from .conftest import require_programs, short_folder

pytestmark = pytest.mark.services


def test_objects_and_keys_survive_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    require_programs()
    folder = short_folder()
    try:
        plan = load_plan(folder)
        for first in (True, False):
            supervisor = Supervisor(folder)
            credentials = start_s3(supervisor, plan)
            start_postgres(supervisor, plan)
            for name, value in s3_environment(plan, credentials["lsr"]).items():
                monkeypatch.setenv(name, value)
            client = boto3.session.Session().client("s3")
            if first:
                client.put_object(Bucket=BUCKET, Key="kept", Body=b"bytes")
            assert client.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"bytes"
            assert stop_all(folder) == ["postgres", "radosgw", "ceph-osd", "ceph-mon"]
            assert supervisor.running() == []
    finally:
        stop_all(folder)
        shutil.rmtree(folder, ignore_errors=True)
