"""Jobs on a cluster, against a stand-in for Ray's client: lost replies, restarts, rejections, deadlines.

tests/services has the same against a real cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lsr.cluster import job_client, job_log, jobs
from lsr.cluster.jobs import JobServer, run_job
from lsr.core.errors import (
    ConfigError,
    InputError,
    LsrError,
    NotFoundError,
    RunFailedError,
    TrainingStoppedError,
    VersionMismatchError,
)
from lsr.core.resources import Resources


@dataclass
class Info:
    status: str
    message: str = ""
    driver_exit_code: int | None = None


@dataclass
class FakeCluster:
    """Ray's job client as far as we use it. plan: statuses that a job passes through, one at each poll.

    logs: what each connection to the log sends before it breaks,
    the last one before it is closed. asked: the resources of the last job.

    faults: errors to raise at the next requests, before (`lost=False`) or after the request was carried out.
    """

    plan: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    version: str = ""
    message: str = ""
    exit_code: int | None = None
    jobs: dict[str, list[str]] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    lose_submit_reply: bool = False
    logs: list[list[str]] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    def cluster_version(self) -> str:
        import ray

        self._fault()
        return self.version or str(ray.__version__)

    def get_job_info(self, name: str) -> Info:
        self._fault()
        if name not in self.jobs:
            raise RuntimeError(f"Request failed with status code 404: Job {name} does not exist.")
        left = self.jobs[name]
        status = left.pop(0) if len(left) > 1 else left[0]
        return Info(status, self.message, self.exit_code if status == "FAILED" else None)

    def submit_job(self, *, submission_id: str, **words: Any) -> str:
        if submission_id in self.jobs:
            raise RuntimeError(f"Request failed: Job with submission_id {submission_id} already exists.")
        self.jobs[submission_id] = list(self.plan)
        self.submitted.append(submission_id)
        self.asked = {name: value for name, value in words.items() if name.startswith("entrypoint_")}
        if self.lose_submit_reply:
            self.lose_submit_reply = False
            raise ConnectionError("connection reset")
        return submission_id

    def stop_job(self, name: str) -> bool:
        if name not in self.stopped:
            self.jobs[name] = ["RUNNING", "STOPPED"]
        self.stopped.append(name)
        return True

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        for piece in self.logs.pop(0):
            yield piece
        if self.logs:
            raise RuntimeError("WebSocket connection closed unexpectedly")


def server(cluster: FakeCluster, **options: Any) -> JobServer:
    return JobServer("http://c:8265", client=lambda _: cluster, **{"patience": 0.2, "poll": 0.001} | options)


def test_a_job_is_submitted_once_and_waited_for() -> None:
    cluster = FakeCluster()
    assert server(cluster).submit("true", "x-a1") is True
    assert server(cluster).submit("true", "x-a1") is False
    assert server(cluster).wait("x-a1").status == "SUCCEEDED"
    assert cluster.submitted == ["x-a1"]


def test_a_lost_reply_does_not_submit_twice() -> None:
    cluster = FakeCluster(lose_submit_reply=True)
    server(cluster).submit("true", "x-a1")
    assert cluster.submitted == ["x-a1"]


def test_a_server_that_is_away_for_a_moment_is_asked_again() -> None:
    cluster = FakeCluster(jobs={"x": ["RUNNING", "SUCCEEDED"]})
    cluster.faults = [ConnectionError("refused"), RuntimeError("Request failed with status code 503: busy")]
    assert server(cluster).wait("x").status == "SUCCEEDED"


def test_a_server_that_stays_away_is_named() -> None:
    cluster = FakeCluster(faults=[ConnectionError("refused")] * 10_000)
    with pytest.raises(RunFailedError, match=r"http://c:8265 did not answer for 0\.2 s .*LSR_RAY_JOBS_ADDRESS"):
        server(cluster).state("x")


def test_a_rejected_token_is_not_asked_again() -> None:
    from ray.exceptions import AuthenticationError

    cluster = FakeCluster(faults=[AuthenticationError("Authentication failed"), AssertionError("asked again")])
    with pytest.raises(RunFailedError, match="rejects the token"):
        server(cluster).state("x")


def test_another_ray_version_is_rejected_before_submitting() -> None:
    cluster = FakeCluster(version="2.1.0")
    with pytest.raises(VersionMismatchError, match=r"runs Ray 2\.1\.0"):
        server(cluster).submit("true", "x-a1")
    assert cluster.submitted == []


def test_a_failed_job_speaks_its_last_words() -> None:
    cluster = FakeCluster(jobs={"x": ["FAILED"]}, message="a\n" * 50 + "Killed\n", exit_code=137)
    with pytest.raises(RunFailedError, match=r"(?s)FAILED with exit code 137.*Killed$") as caught:
        server(cluster).wait("x")
    assert str(caught.value).count("\n") < 10


@pytest.mark.parametrize("kind", [InputError, TrainingStoppedError])
def test_a_job_of_ours_fails_with_its_own_error(kind: type[LsrError]) -> None:
    text = "loading\nerror: Shard 7 holds no image.\nRunning entrypoint for job x\n"
    cluster = FakeCluster(jobs={"x": ["FAILED"]}, message=text, exit_code=kind.exit_code)
    with pytest.raises(kind, match=r"^Shard 7 holds no image\. \(Ray job x at http://c:8265\)$"):
        server(cluster).wait("x")


def test_an_unknown_job_is_not_found() -> None:
    assert server(FakeCluster()).state("x") is None
    with pytest.raises(NotFoundError, match="knows no job x"):
        server(FakeCluster()).wait("x")
    with pytest.raises(NotFoundError, match="knows no job x"):
        server(FakeCluster()).stop("x")


def test_a_deadline_stops_the_job() -> None:
    cluster = FakeCluster(jobs={"x": ["RUNNING"]})
    with pytest.raises(RunFailedError, match=r"did not end within 0\.01 s and was stopped"):
        server(cluster).wait("x", deadline=0.01)
    assert cluster.stopped
    assert cluster.jobs["x"] == ["STOPPED"]


def test_a_job_that_is_never_started_is_stopped() -> None:
    cluster = FakeCluster(jobs={"x": ["PENDING"]})
    with pytest.raises(
        RunFailedError, match="was not started within 0 s, in which it waited for 4 CPU, 1 GPU, and was"
    ):
        server(cluster).wait("x", start_within=0, waits_for=str(Resources(cpus=4, gpus=1)))
    assert cluster.stopped


def test_a_job_that_does_not_stop_is_an_error() -> None:
    class Deaf(FakeCluster):
        def stop_job(self, name: str) -> bool:
            return True

    with pytest.raises(RunFailedError, match="still RUNNING"):
        server(Deaf(jobs={"x": ["RUNNING"]})).stop("x", within=0.01)


def test_the_log_arrives_once_and_whole_over_a_broken_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection sends the log from its beginning."""
    monkeypatch.setattr(job_log, "_AGAIN_SECONDS", 0.01)
    cluster = FakeCluster(
        jobs={"x": ["RUNNING"] * 60 + ["SUCCEEDED"]}, logs=[["a", "b\n"], ["ab\nc"], ["ab\ncd\n", "e\n"]]
    )
    pieces: list[str] = []
    server(cluster, poll=0.002).wait("x", on_log=pieces.append)
    assert "".join(pieces) == "ab\ncd\ne\n"
    assert cluster.logs == []


def test_a_log_that_nobody_reads_is_not_asked_for() -> None:
    cluster = FakeCluster(jobs={"x": ["RUNNING", "SUCCEEDED"]}, logs=[["a"]])
    server(cluster).wait("x")
    assert cluster.logs == [["a"]]


def test_a_silent_log_does_not_hold_the_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(FakeCluster):
        async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
            await asyncio.sleep(60)
            yield ""

    monkeypatch.setattr(job_log, "_LAST_WORDS_SECONDS", 0.05)
    before = time.monotonic()
    assert server(Silent(jobs={"x": ["RUNNING", "SUCCEEDED"]})).wait("x", on_log=print).status == "SUCCEEDED"
    assert time.monotonic() - before < 5


def test_a_job_reserves_what_its_own_process_needs() -> None:
    cluster = FakeCluster()
    server(cluster).submit("true", "x-a1", resources=Resources(cpus=4, gpus=1, memory_gib=0.5))
    assert cluster.asked == {"entrypoint_num_cpus": 4, "entrypoint_num_gpus": 1, "entrypoint_memory": 1 << 29}
    assert isinstance(cluster.asked["entrypoint_memory"], int)
    server(cluster).submit("true", "x-a2", resources=Resources())
    assert cluster.asked == {"entrypoint_num_cpus": 1}


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD"])
def test_secrets_do_not_become_job_variables(name: str) -> None:
    cluster = FakeCluster()
    with pytest.raises(ConfigError, match=name):
        server(cluster).submit("true", "x", env={name: "s3cr3t", "LSR_STORE": "s3://b"})
    assert cluster.submitted == []


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    found = FakeCluster()
    monkeypatch.setattr(jobs, "ray_client", lambda address: found)
    monkeypatch.setattr(jobs.time, "sleep", lambda seconds: None)
    return found


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([], "x-a1"),
        ([["RUNNING", "SUCCEEDED"]], "x-a1"),
        ([["SUCCEEDED"]], "x-a1"),
        ([["FAILED"]], "x-a2"),
        ([["FAILED"], ["STOPPED"]], "x-a3"),
    ],
)
def test_a_living_attempt_is_attached_and_a_dead_one_followed(
    cluster: FakeCluster, earlier: list[list[str]], expected: str
) -> None:
    cluster.jobs = {f"x-a{number}": plan for number, plan in enumerate(earlier, 1)}
    known = expected in cluster.jobs
    state = run_job("http://c:8265", entrypoint="true", name="x")
    assert (state.submission_id, state.status) == (expected, "SUCCEEDED")
    assert cluster.submitted == ([] if known else [expected])


def test_a_success_whose_result_is_gone_counts_as_dead(cluster: FakeCluster) -> None:
    cluster.jobs = {"x-a1": ["SUCCEEDED"]}
    assert run_job("http://c:8265", entrypoint="true", name="x", accept=lambda: False).submission_id == "x-a2"


def test_an_interrupt_stops_the_job(cluster: FakeCluster) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    cluster.plan, cluster.logs = ["RUNNING"], [["a line"]]
    with pytest.raises(KeyboardInterrupt):
        run_job("http://c:8265", entrypoint="sleep 9", name="x", on_log=interrupt)
    assert set(cluster.stopped) == {"x-a1"}


def test_the_token_file_becomes_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert job_client._authorization() == {}
    token = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with pytest.raises(ConfigError, match="cannot be read"):
        job_client._authorization()
    token.write_text("abc\n")
    assert job_client._authorization() == {"Authorization": "Bearer abc"}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "def")
    assert job_client._authorization() == {"Authorization": "Bearer def"}


def test_a_variable_that_would_send_jobs_elsewhere_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://other:8265")
    with pytest.raises(ConfigError, match="RAY_ADDRESS is set and would send jobs for http://c:8265 elsewhere"):
        JobServer("http://c:8265").version()
