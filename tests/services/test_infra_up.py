"""`python -m infra.services up` starts servers that behave as those of a real site do."""

from __future__ import annotations

import json
import os
import stat
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from infra.local.plan import BUCKET, MLFLOW_BUCKET
from lsr.cluster.jobs import JobServer, run_job
from lsr.core.errors import InputError, RunFailedError
from lsr.core.settings import Settings

from .conftest import Services, infra

pytestmark = pytest.mark.services


def s3() -> Any:
    """A client by the present environment; boto3's default session would remember an earlier one."""
    return boto3.session.Session().client("s3")


def put(client: Any, key: str, **options: Any) -> int:
    """The status of a PutObject."""
    try:
        reply = client.put_object(Bucket=BUCKET, Key=f"store/doctor/{key}", Body=b"1", **options)
        return int(reply["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_second_create_is_rejected(service_settings: Settings) -> None:
    client = s3()
    assert put(client, "once", IfNoneMatch="*") == 200
    assert put(client, "once", IfNoneMatch="*") == 412


def test_one_of_many_racing_creates_wins(service_settings: Settings) -> None:
    client = s3()
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: put(client, "race", IfNoneMatch="*"), range(16)))
    assert replies.count(200) == 1
    assert set(replies) <= {200, 409, 412}


def test_a_stale_replace_is_rejected(service_settings: Settings) -> None:
    """This server compares the bare ETag, without the quotes that it answers with."""
    client = s3()
    first = client.put_object(Bucket=BUCKET, Key="store/doctor/pointer", Body=b"1")["ETag"].strip('"')
    second = client.put_object(Bucket=BUCKET, Key="store/doctor/pointer", Body=b"2", IfMatch=first)["ETag"].strip('"')
    assert put(client, "pointer", IfMatch=first) == 412
    assert put(client, "pointer", IfMatch=second) == 200


def test_a_wrong_secret_is_rejected(service_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert put(s3(), "x") == 403


def test_the_store_s_user_does_not_reach_mlflow_s_bucket(service_settings: Settings) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        s3().list_objects_v2(Bucket=MLFLOW_BUCKET)


def test_mlflow_keeps_runs_and_artifacts_without_s3_keys(
    service_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(service_settings.mlflow)
    run = client.create_run(client.create_experiment("infra")).info.run_id
    client.log_metric(run, "loss", 0.5, step=1)
    (tmp_path / "note.txt").write_text("kept")
    client.log_artifact(run, str(tmp_path / "note.txt"))
    assert client.get_run(run).data.metrics == {"loss": 0.5}
    assert Path(client.download_artifacts(run, "note.txt", str(tmp_path))).read_text() == "kept"


def test_prefect_answers_only_with_the_login(service_settings: Settings, services: Services) -> None:
    import base64

    url = f"{service_settings.prefect_api}/admin/version"
    login = base64.b64encode(services.env["PREFECT_API_AUTH_STRING"].encode()).decode()
    assert status_of(url) == 401
    assert status_of(url, Authorization=f"Basic {login}") == 200


def test_a_ray_job_runs_with_the_clusters_settings(service_settings: Settings) -> None:
    assert service_settings.ray_jobs is not None
    code = "import os, lsr; print('store', os.environ['LSR_STORE'], 'AWS_SECRET_ACCESS_KEY' in os.environ)"
    log: list[str] = []
    state = run_job(service_settings.ray_jobs, entrypoint=f'python -c "{code}"', name="echo", on_log=log.append)
    assert state.submission_id == "echo-a1"
    assert f"store {service_settings.store} True" in "".join(log)
    again = run_job(service_settings.ray_jobs, entrypoint="false", name="echo")
    assert again.submission_id == "echo-a1", "a finished attempt is attached, not run again"


def test_a_failed_job_raises_its_own_error_and_the_next_attempt_gets_the_next_number(
    service_settings: Settings,
) -> None:
    assert service_settings.ray_jobs is not None
    fails = f"sh -c 'echo \"error: No image in x.\" >&2; exit {InputError.exit_code}'"
    for number in (1, 2):
        with pytest.raises(InputError, match=rf"No image in x\. \(Ray job fails-a{number} at"):
            run_job(service_settings.ray_jobs, entrypoint=fails, name="fails")


def test_a_stopped_job_has_ended_with_its_processes(service_settings: Settings, tmp_path: Path) -> None:
    assert service_settings.ray_jobs is not None
    server, note = JobServer(service_settings.ray_jobs), tmp_path / "pid"
    assert server.submit(f"sh -c 'echo $$ > {note}; exec sleep 600'", "sleeper")
    assert server.submit("true", "sleeper") is False
    with pytest.raises(RunFailedError, match="did not end within 3 s and was stopped"):
        server.wait("sleeper", deadline=3)
    state = server.state("sleeper")
    assert state is not None
    assert state.status == "STOPPED"
    if note.exists():
        assert not psutil.pid_exists(int(note.read_text()))


def test_ray_rejects_requests_without_the_token(service_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service_settings.ray_jobs is not None
    assert status_of(f"{service_settings.ray_jobs}/api/jobs/") == 401
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(RunFailedError, match="rejects the token"):
        JobServer(service_settings.ray_jobs).submit("true", "intruder")


def test_secrets_are_readable_by_their_owner_only_and_in_no_argument(services: Services) -> None:
    for name in ("services.env", "plan.json", "ray.token", "ceph/users.json"):
        assert stat.S_IMODE((services.folder / name).stat().st_mode) == 0o600, name
    plan = json.loads((services.folder / "plan.json").read_text())
    secrets = [value for name, value in plan.items() if name != "ports"] + [services.env["AWS_SECRET_ACCESS_KEY"]]
    for pid in services.pids.values():
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # servers have children that come and go
                arguments = " ".join(process.cmdline())
                assert not any(secret in arguments for secret in secrets), process


@pytest.mark.parametrize("name", ["radosgw", "ceph-mon", "postgres", "mlflow", "prefect"])
def test_a_service_listens_on_loopback_only(services: Services, name: str) -> None:
    """Ray's own ports listen on every address, behind its token."""
    top = psutil.Process(services.pids[name])
    listening = []
    for process in (top, *top.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found = process.net_connections("inet")
            listening += [each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}


def test_a_second_up_is_rejected_in_one_sentence(services: Services) -> None:
    again = infra("up", services.folder)
    assert again.returncode != 0
    assert again.stderr.startswith(f"error: Services of {services.folder} run already")
    assert "Traceback" not in again.stderr
    assert set(json.loads(infra("status", services.folder).stdout)["services"]) == set(services.pids)
