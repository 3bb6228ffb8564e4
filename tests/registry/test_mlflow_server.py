"""The same registry against a real MLflow server: other artifact paths, other errors, no local files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lsr.core.errors import StoreError
from lsr.registry.aliases import reconcile, resolve_for_inference
from lsr.registry.packaging import Package
from lsr.registry.promotion import promote, put_verdict
from lsr.registry.runs import close_orphans, close_run, open_run
from lsr.registry.tracking import MlflowTracker
from lsr.registry.versions import fetch_version, register
from lsr.store import Store

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]


def _answers(uri: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{uri}/health", timeout=2).read() == b"OK")
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    uri = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while not _answers(uri):
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
        time.sleep(0.2)
    yield uri
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)


def test_the_whole_life_of_a_version_over_http(
    server: str, store: Store, package: Callable[[str], Package], judged: Callable, tmp_path: Path
) -> None:
    run_id = open_run(server, experiment="demo", key="a" * 64, stage="register")
    tracker = MlflowTracker(server, run_id)
    tracker.params({"a": {"b": 1}})
    tracker.metrics(1, {"loss": 1.0})
    tracker.text("note.md", "hello")
    assert MlflowTracker(server, run_id).last_step() == 1
    one = register(server, "m", package("one"), run_id=run_id)
    two = register(server, "m", package("two"), run_id=run_id)
    assert register(server, "m", Package(path=Path("/gone"), digest=two.digest, files=two.files), run_id=run_id) == two
    promote(store, one, put_verdict(store, judged(one)), who="ada")
    promote(store, two, put_verdict(store, judged(two, one)), who="ada")
    assert [str(change) for change in reconcile(store, server, "m")] == [
        "previous: nothing -> version 1",
        "champion: nothing -> version 2",
    ]
    champion = resolve_for_inference(store, server, "m@champion")
    fetched = fetch_version(server, champion, tmp_path / "cache")
    assert (fetched.path / "weights.safetensors").read_text() == "two"
    assert close_orphans(server) == []
    close_run(server, run_id, "FINISHED")


def test_a_server_that_went_away_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = server.rpartition(":")[0] + ":9"
    with pytest.raises(StoreError, match=r":9 rejected a request or could not be reached"):
        open_run(address, experiment="demo", key="b" * 64, stage="register")
