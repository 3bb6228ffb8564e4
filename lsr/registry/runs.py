"""MLflow runs with one owner: one run per action key, re-opened on resume, closed even when its process dies.

Workers never open runs: they are given the run's id.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from lsr.core.background import beside
from lsr.core.errors import StoreError
from lsr.core.processes import process_token, token_ended
from lsr.registry.connect import already_exists, artifact_root, connect, explained

KEY, STAGE = "lsr.action_key", "lsr.stage"
HOST, PROCESS, HEARTBEAT = "lsr.host", "lsr.process", "lsr.heartbeat"
CLOSED_BY = "lsr.closed_by"
BEAT_SECONDS = 60.0
STALE_SECONDS = 900.0

Status = Literal["FINISHED", "FAILED", "KILLED"]


def owner_tags() -> dict[str, str]:
    """Who this process is: its token, its host for people, and a first heartbeat."""
    return {HOST: socket.gethostname(), PROCESS: process_token(), HEARTBEAT: f"{time.time():.0f}"}


def open_run(
    uri: str,
    *,
    experiment: str,
    key: str,
    stage: str,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """The id of the run of action `key`, now RUNNING and owned by this process; made on first call, found by its tag
    later. parent: run id that this one is shown under. Two processes that open one key at once get the same run.
    """
    client = connect(uri)
    with explained(uri):
        experiment_id = _experiment(client, uri, experiment)
        found = _runs_of(client, experiment_id, key)
        if not found:
            marks = {KEY: key, STAGE: stage, **({"mlflow.parentRunId": parent} if parent else {})}
            made = client.create_run(experiment_id, tags=marks, run_name=f"{stage}-{key[:12]}").info.run_id
            found = _runs_of(client, experiment_id, key)
            if found[0].info.run_id != made:
                client.delete_run(made)
        run = found[0]
        if run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")
        set_tags(client, run.info.run_id, {**owner_tags(), **(tags or {})})
        return str(run.info.run_id)


def close_run(uri: str, run_id: str, status: Status, reason: str = "") -> None:
    """End a run. reason: kept as a tag."""
    client = connect(uri)
    with explained(uri, f"There is no MLflow run {run_id}; it may have been deleted."):
        if reason:
            set_tags(client, run_id, {CLOSED_BY: reason[:500]})
        client.set_terminated(run_id, status=status)


@contextmanager
def owned_run(uri: str, **request: Any) -> Iterator[str]:
    """`open_run(uri, **request)` for a block: heartbeats while it runs, FINISHED after it, FAILED on an error, KILLED
    on an interrupt. A process that dies without a word leaves the run to `close_orphans`.
    """
    run_id = open_run(uri, **request)
    status: Status = "KILLED"
    try:
        with beside(partial(_beat, uri, run_id), "mlflow-heartbeat"):
            yield run_id
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        close_run(uri, run_id, status)


def close_orphans(uri: str, *, stale_after: float = STALE_SECONDS) -> list[str]:
    """Close as KILLED every RUNNING run of ours whose process is gone; the ids of those closed.

    Where the process can be seen from here, it decides; elsewhere no heartbeat for `stale_after` seconds does. Every
    command that opens MLflow calls this first.
    """
    client = connect(uri)
    with explained(uri):
        experiments = [e.experiment_id for e in client.search_experiments()]
        running = _all_runs(client, experiments, "attributes.status = 'RUNNING'")
        closed = []
        for run in running:
            why = _orphaned(run.data.tags, stale_after)
            if why:
                close_run(uri, run.info.run_id, "KILLED", reason=why)
                closed.append(str(run.info.run_id))
        return closed


def set_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """All tags in one call."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _orphaned(tags: Mapping[str, str], stale_after: float) -> str:
    """Why the run's process is taken for gone; empty while it may live or when the run is not ours."""
    if HEARTBEAT not in tags:
        return ""
    process, host = tags.get(PROCESS, ""), tags.get(HOST, "an unknown host")
    gone = token_ended(process)
    if gone is not None:
        return f"process {process.partition('.')[0]} on {host} is gone" if gone else ""
    try:
        age = time.time() - float(tags[HEARTBEAT])
    except ValueError:
        return ""
    return f"no heartbeat from {host} for {age:.0f} s" if age > stale_after else ""


def _beat(uri: str, run_id: str, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        try:
            client = connect(uri)
            with explained(uri):
                set_tags(client, run_id, {HEARTBEAT: f"{time.time():.0f}"})
        except StoreError:
            # A missed beat is made up for by the next; the limit allows for many.
            continue


def _experiment(client: Any, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            root = artifact_root(uri)
            return str(client.create_experiment(name, artifact_location=f"{root}/{name}" if root else None))
        except MlflowException as error:
            if not already_exists(error):
                raise
            found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


def _runs_of(client: Any, experiment_id: str, key: str) -> list[Any]:
    """Active runs of an action key, the first one made first; ties are broken by id, the same for every reader."""
    runs = _all_runs(client, [experiment_id], f"tags.`{KEY}` = '{key}'")
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _all_runs(client: Any, experiments: list[str], query: str) -> list[Any]:
    out: list[Any] = []
    token: str | None = None
    while True:
        page = client.search_runs(experiments, filter_string=query, page_token=token)
        out += page
        token = page.token
        if not token:
            return out
