"""One run per action key, owned by one process, closed when it ends and when it dies; nothing logged twice."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lsr.core.errors import ConfigError, NotFoundError, StoreError
from lsr.core.processes import process_token
from lsr.core.refs import Ref
from lsr.registry import runs
from lsr.registry.connect import connect, safe
from lsr.registry.runs import HEARTBEAT, HOST, PROCESS, close_orphans, close_run, open_run, owned_run, set_tags
from lsr.registry.tracking import MlflowTracker

REQUEST = {"experiment": "demo", "key": "a" * 64, "stage": "denoise"}


def status(uri: str, run_id: str) -> str:
    return str(connect(uri).get_run(run_id).info.status)


def test_one_run_an_action_key_reopened_on_resume(uri: str) -> None:
    first = open_run(uri, **REQUEST, tags={"recipe": "demo"})
    close_run(uri, first, "FAILED", reason="out of memory")
    assert status(uri, first) == "FAILED"
    assert open_run(uri, **REQUEST) == first
    assert status(uri, first) == "RUNNING"
    assert open_run(uri, **{**REQUEST, "key": "b" * 64}) != first
    tags = connect(uri).get_run(first).data.tags
    assert (tags["recipe"], tags["lsr.stage"], tags[PROCESS]) == ("demo", "denoise", process_token())


def test_two_processes_that_open_one_key_at_once_share_its_run(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    search, opened = runs._runs_of, []

    def late(*words: object) -> list[object]:
        """The first search finds nothing; before this process creates, another one does."""
        monkeypatch.setattr(runs, "_runs_of", search)
        opened.append(open_run(uri, **REQUEST))
        return []

    monkeypatch.setattr(runs, "_runs_of", late)
    assert open_run(uri, **REQUEST) == opened[0]
    client = connect(uri)
    assert len(client.search_runs([client.get_experiment_by_name("demo").experiment_id])) == 1


def test_stages_are_shown_under_their_parent(uri: str) -> None:
    parent = open_run(uri, experiment="demo", key="line", stage="line")
    child = open_run(uri, **REQUEST, parent=parent)
    assert connect(uri).get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_the_block_closes_its_run(uri: str) -> None:
    with owned_run(uri, **REQUEST) as run_id:
        assert status(uri, run_id) == "RUNNING"
    assert status(uri, run_id) == "FINISHED"
    with pytest.raises(ValueError, match="loss"), owned_run(uri, **REQUEST):
        raise ValueError("loss is NaN")
    assert status(uri, run_id) == "FAILED"
    with pytest.raises(KeyboardInterrupt), owned_run(uri, **REQUEST):
        raise KeyboardInterrupt
    assert status(uri, run_id) == "KILLED"


def test_runs_of_the_living_and_of_others_tools_are_left_alone(uri: str) -> None:
    mine = open_run(uri, **REQUEST)
    client = connect(uri)
    theirs = client.create_run(client.get_experiment_by_name("demo").experiment_id).info.run_id
    assert close_orphans(uri) == []
    assert (status(uri, mine), status(uri, theirs)) == ("RUNNING", "RUNNING")


def test_another_hosts_run_is_closed_when_its_heartbeat_stops(uri: str) -> None:
    run_id = open_run(uri, **REQUEST)
    client = connect(uri)
    pid, started, _ = process_token().split(".")
    set_tags(client, run_id, {HOST: "elsewhere", PROCESS: f"{pid}.{started}.0", HEARTBEAT: f"{time.time() - 100:.0f}"})
    assert close_orphans(uri, stale_after=200) == []
    assert close_orphans(uri, stale_after=50) == [run_id]
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert "no heartbeat from elsewhere" in run.data.tags["lsr.closed_by"]


def test_a_reused_pid_is_not_mistaken_for_the_owner(uri: str) -> None:
    run_id = open_run(uri, **REQUEST)
    pid, started, space = process_token().split(".")
    set_tags(connect(uri), run_id, {PROCESS: f"{pid}.{int(started) - 1}.{space}"})
    assert close_orphans(uri) == [run_id]


def test_a_container_with_this_hosts_name_keeps_its_run(uri: str) -> None:
    """Host names are shared; what its pid means here says nothing about it."""
    run_id = open_run(uri, **REQUEST)
    set_tags(connect(uri), run_id, {PROCESS: "4194303.1.0123456789ab"})
    assert close_orphans(uri) == []


def test_a_run_of_an_earlier_release_is_judged_by_its_heartbeat(uri: str) -> None:
    """It has a pid and a start in seconds, which a step of the clock moves."""
    run_id = open_run(uri, **REQUEST)
    client = connect(uri)
    client.delete_tag(run_id, PROCESS)
    set_tags(client, run_id, {"lsr.pid": "4194303", "lsr.started": "1000.00"})
    assert close_orphans(uri) == []
    set_tags(client, run_id, {HEARTBEAT: f"{time.time() - 1000:.0f}"})
    assert close_orphans(uri) == [run_id]


OWNER = """
import sys, time
from lsr.registry.runs import owned_run
with owned_run(sys.argv[1], experiment="demo", key="a" * 64, stage="denoise") as run_id:
    print(run_id, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_the_run_of_a_sigkilled_process_is_closed_by_the_next_command_and_resumed(uri: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, uri], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    run_id = owner.stdout.readline().strip()
    assert close_orphans(uri) == []
    owner.send_signal(signal.SIGKILL)
    owner.wait(timeout=30)
    assert status(uri, run_id) == "RUNNING"
    assert close_orphans(uri) == [run_id]
    assert status(uri, run_id) == "KILLED"
    assert open_run(uri, **REQUEST) == run_id


OPENER = """
import sys
from lsr.registry.runs import open_run
print(open_run(sys.argv[1], experiment="demo", key="a" * 64, stage="denoise"))
"""


@pytest.mark.slow
def test_first_users_at_once_share_one_database_and_one_run(tmp_path: Path) -> None:
    """Beside what a maker left that was killed in the middle of MLflow's migrations."""
    for name in (".mlflow.db.new", ".mlflow.db.new-journal"):
        (tmp_path / name).write_text("half a database")
    words = [sys.executable, "-c", OPENER, f"sqlite:///{tmp_path / 'mlflow.db'}"]
    users = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {user.communicate(timeout=120)[0].strip() for user in users}
    assert [user.returncode for user in users] == [0, 0, 0]
    assert len(said) == 1
    assert len(said.pop()) == 32


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in connect(uri).get_metric_history(run_id, name)]


def test_metrics_of_a_step_are_logged_once_across_resumes(uri: str) -> None:
    run_id = open_run(uri, **REQUEST)
    tracker = MlflowTracker(uri, run_id)
    assert tracker.last_step() == 0
    for step in (20, 40, 60):
        tracker.metrics(step, {"loss": 1 / step})
    tracker.metrics(50, {"psnr": 20.0})
    resumed = MlflowTracker(uri, run_id)
    assert resumed.last_step() == 60
    for step in (40, 60, 80):
        resumed.metrics(step, {"loss": 9.0})
    resumed.metrics(60, {"psnr": 21.0})
    assert history(uri, run_id, "loss") == [(20, 1 / 20), (40, 1 / 40), (60, 1 / 60), (80, 9.0)]
    assert history(uri, run_id, "psnr") == [(50, 20.0), (60, 21.0)]


def test_a_tracker_travels_to_a_worker_as_two_strings(uri: str) -> None:
    run_id = open_run(uri, **REQUEST)
    tracker = MlflowTracker(uri, run_id)
    tracker.metrics(1, {"loss": 1.0})
    data = pickle.dumps(tracker)
    assert len(data) < 500
    pickle.loads(data).metrics(2, {"loss": 0.5})  # noqa: S301
    assert history(uri, run_id, "loss") == [(1, 1.0), (2, 0.5)]


def test_metrics_wait_while_mlflow_is_away(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = open_run(uri, **REQUEST)
    tracker = MlflowTracker(uri, run_id)
    tracker.metrics(1, {"loss": 1.0})
    send = tracker._client.log_batch

    def away(*_: object, **__: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(tracker._client, "log_batch", away)
    tracker.metrics(2, {"loss": 0.5})
    with pytest.raises(StoreError, match="connection refused"):
        tracker.close()
    monkeypatch.setattr(tracker._client, "log_batch", send)
    tracker.metrics(3, {"loss": 0.25})
    tracker.close()
    assert history(uri, run_id, "loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_params_are_flat_long_ones_are_artifacts_and_changed_ones_tags(uri: str) -> None:
    run_id = open_run(uri, **REQUEST)
    tracker = MlflowTracker(uri, run_id)
    tracker.params({"train": {"lr": 0.1, "betas": [0.9, 0.99]}, "long": "x" * 7000})
    tracker.params({"train": {"lr": 0.2, "steps": 5}})
    run = connect(uri).get_run(run_id)
    assert run.data.params["train.lr"] == "0.1"
    assert run.data.tags["lsr.param.train.lr"] == "0.2"
    assert run.data.params["train.steps"] == "5"
    assert run.data.params["long"] == "see artifact params/long.txt"


def test_images_texts_and_inputs_reach_the_run(uri: str, tmp_path: Path) -> None:
    run_id = open_run(uri, **REQUEST)
    tracker = MlflowTracker(uri, run_id)
    image = np.zeros((8, 8, 3), np.uint8)
    tracker.image("sample", 20, image)
    tracker.image("sample", 20, image)
    tracker.text("report.md", "# hi")
    ref = Ref(kind="tiles", key="k" * 64, digest="d" * 64, path=f"datasets/photos/{'d' * 64}.json")
    tracker.inputs({"tile": ref}, "file:///store")
    client = connect(uri)
    names = {f.path for folder in (None, "images") for f in client.list_artifacts(run_id, folder)}
    assert {"report.md", "images/sample-00000020.png"} <= names
    (found,) = client.get_run(run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("tile", "d" * 36)
    assert "d" * 64 in found.dataset.source
    stored = list((tmp_path / "ml" / "mlflow-artifacts").rglob("sample-00000020.png"))
    assert len(stored) == 1


def test_nothing_appears_in_the_working_directory(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    run_id = open_run(uri, **REQUEST)
    MlflowTracker(uri, run_id).text("a.txt", "a")
    assert list(work.iterdir()) == []


def test_addresses_that_cannot_work_are_rejected(uri: str) -> None:
    with pytest.raises(ConfigError, match="absolute path"):
        connect("sqlite:///mlflow.db")
    with pytest.raises(ConfigError, match="must be a database or a server"):
        connect("./mlruns")
    with pytest.raises(NotFoundError, match="no MLflow run"):
        MlflowTracker(uri, "0" * 32).last_step()
    assert "s3cret" not in safe("postgresql://lsr:s3cret@db/mlflow")


def test_a_dead_server_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9"):
        open_run("http://127.0.0.1:9", **REQUEST)
