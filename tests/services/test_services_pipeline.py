"""The whole short pipeline on real services: deployed, scheduled, killed, resumed, run again, cancelled.

S3 (Ceph's gateway), PostgreSQL, an MLflow server, a Prefect server with a process worker, and a Ray cluster that jobs
are submitted to with a token. The tests of this file share one line and run in the order in which they stand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from infra.local.plan import BUCKET, MLFLOW_BUCKET
from lsr.cluster.job_client import ray_client
from lsr.cluster.jobs import JobServer

from .conftest import PROJECT, Services
from .prefect_api import PrefectApi
from .proxy import counting_proxy

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]
TRAINED = ("autoencoder", "decoder", "denoise", "joint")
JOBS = ("shard", "tile", *TRAINED[:2], "latents", *TRAINED[2:], "evaluate", "infer")


@pytest.fixture(scope="module")
def env(services: Services, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A client's environment: that of this process, pointed at the services."""
    home = str(tmp_path_factory.mktemp("client") / "home")
    return {**os.environ, **services.env, "LSR_HOME": home, "PREFECT_HOME": f"{home}/prefect"}


@pytest.fixture(scope="module")
def ray_token(services: Services) -> Iterator[None]:
    """This process's own requests to the cluster carry its token."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            patch.setenv(name, services.env[name])
        yield


@pytest.fixture(scope="module")
def api(services: Services) -> PrefectApi:
    return PrefectApi(services.env)


def lsr(env: dict[str, str], *words: str) -> Any:
    """An `lsr` command's JSON."""
    command = [sys.executable, "-c", "from lsr.cli import main; main()", *words, "--json"]
    done = subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def jobs(env: dict[str, str]) -> dict[str, str]:
    """Status of every job of the pipeline on the Ray cluster by submission id."""
    listed = ray_client(env["LSR_RAY_JOBS_ADDRESS"]).list_jobs()
    found = {str(job.submission_id): str(getattr(job.status, "value", job.status)) for job in listed}
    return {name: status for name, status in found.items() if name.startswith(JOBS)}


def until(what: Callable[[], Any], seconds: float, why: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"{why}: not within {seconds:g} s"
        time.sleep(1)
    return found


def objects(services: Services) -> dict[str, Any]:
    """ETag and time of every object of both buckets."""
    keys = json.loads((services.folder / "ceph" / "users.json").read_text())
    found = {}
    for user, bucket in (("lsr", BUCKET), ("mlflow", MLFLOW_BUCKET)):
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=services.env["AWS_ENDPOINT_URL"],
            aws_access_key_id=keys[user]["access_key"],
            aws_secret_access_key=keys[user]["secret_key"],
            region_name="us-east-1",
        )
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", []):
                found[f"{bucket}/{entry['Key']}"] = (entry["ETag"], entry["LastModified"])
    return found


@pytest.fixture(scope="module")
def deployment(env: dict[str, str], api: PrefectApi) -> str:
    """The deployment `demo` of infra/prefect, made by Prefect's own command; the short recipe, due each minute."""
    file = ["--prefect-file", "infra/prefect/prefect.yaml", "--name", "demo"]
    changes = ["--param", "recipe=short", "--cron", "* * * * *"]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *file, *changes],
        env=env,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(api.deployment("demo")["id"])


def test_the_schedule_fires_and_a_killed_flow_is_gone_on_with(
    deployment: str, api: PrefectApi, env: dict[str, str], ray_token: None, services: Services
) -> None:
    """The worker's flow process is killed while a training job runs: the job continues, the next run attaches to it."""
    first = until(lambda: [run for run in api.runs(deployment) if run["state"]["type"] == "RUNNING"], 150, "a run")[0]
    assert first["auto_scheduled"] is True
    # Runs of a paused deployment that are still to come are deleted; this one has begun.
    api.ask("PATCH", f"deployments/{deployment}", {"paused": True})
    running = until(
        lambda: [n for n, s in jobs(env).items() if n.startswith(TRAINED) and s == "RUNNING"], 300, "a training job"
    )
    for process in psutil.Process(services.pids["prefect-worker"]).children(recursive=True):
        process.kill()
    assert api.wait(first["id"], "CRASHED", seconds=120)
    second = api.start(deployment, recipe="short")
    state = api.wait(second, "COMPLETED", "FAILED", "CRASHED", seconds=900)
    assert state["type"] == "COMPLETED", f"{state}\n{api.logs(second)}"
    assert jobs(env)[running[0]] == "SUCCEEDED"


def test_every_stage_was_one_job(deployment: str, env: dict[str, str], ray_token: None) -> None:
    ended = jobs(env)
    assert set(ended.values()) == {"SUCCEEDED"}
    stages = sorted(name.split("-")[0] for name in ended)
    # The images that inference reads are a second set of shards.
    assert stages == sorted([*JOBS, "shard"])
    assert all(name.endswith("-a1") for name in ended)


def test_the_promoted_version_came_from_the_flow(
    deployment: str, api: PrefectApi, env: dict[str, str], services: Services
) -> None:
    models = lsr(env, "models", "list")
    assert "champion" in json.dumps(models)
    artifacts = api.ask("POST", "artifacts/filter", {"artifacts": {"key": {"any_": ["retrain-report"]}}})
    assert "PASS" in artifacts[0]["data"]
    links = api.ask("POST", "artifacts/filter", {"artifacts": {"key": {"any_": ["retrain-page"]}}})
    assert f"{env['MLFLOW_TRACKING_URI']}/#/experiments/" in links[0]["data"]
    assert "/artifacts/report.html" in artifacts[0]["data"]
    kept = objects(services)
    assert any(name.startswith(f"{MLFLOW_BUCKET}/artifacts/") for name in kept)
    assert any(name.startswith(f"{BUCKET}/store/promotions/") for name in kept)


def test_two_workers_trained_in_one_group(env: dict[str, str], tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(env["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("lsr")
    for stage in TRAINED:
        (run,) = client.search_runs([experiment.experiment_id], f"tags.`lsr.stage` = '{stage}'")
        assert run.info.status == "FINISHED"
        record = json.loads(Path(client.download_artifacts(run.info.run_id, "run.json", str(tmp_path))).read_text())
        assert run.data.tags["ray_submission"].startswith(f"{stage}-")
        assert run.data.tags["prefect_flow_run"]
        assert [worker["rank"] for worker in record["workers"]] == [0, 1]
        assert len({worker["pid"] for worker in record["workers"]}) == 2


def test_run_again_nothing_is_put_and_no_job_is_submitted(
    deployment: str, env: dict[str, str], ray_token: None, services: Services
) -> None:
    before, submitted = objects(services), jobs(env)
    with counting_proxy(services.env["AWS_ENDPOINT_URL"]) as proxy:
        report = lsr(env | {"AWS_ENDPOINT_URL": proxy.url}, "retrain", "--recipe", "short")
    assert [stage["stage"] for stage in report["stages"] if stage["made"]] == []
    assert proxy.counts["GET"] > 0
    assert proxy.paths == [], "a second run wrote to the store"
    assert objects(services) == before
    assert jobs(env) == submitted


def test_a_cancelled_flow_stops_its_job(deployment: str, api: PrefectApi, env: dict[str, str], ray_token: None) -> None:
    run = api.start(deployment, recipe="short", changes={"joint": {"train": {"images": 800000}}})
    name = until(
        lambda: next((n for n, s in jobs(env).items() if n.startswith("joint") and s == "RUNNING"), None),
        200,
        "the job",
    )
    api.ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert api.wait(run, "CANCELLED", "CRASHED", seconds=120)
    server = JobServer(env["LSR_RAY_JOBS_ADDRESS"])
    state = until(lambda: (s := server.state(name)) and s.ended and s, 120, "the job's end")
    assert state.status == "STOPPED"
