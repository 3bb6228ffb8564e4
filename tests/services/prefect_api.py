"""The few requests of Prefect's REST interface that the services tests make."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any


class PrefectApi:
    """The server of `env` (PREFECT_API_URL, PREFECT_API_AUTH_STRING)."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._url = env["PREFECT_API_URL"]
        self._login = base64.b64encode(env["PREFECT_API_AUTH_STRING"].encode()).decode()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded reply."""
        request = urllib.request.Request(
            f"{self._url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {self._login}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def deployment(self, name: str) -> Any:
        """The deployment `name` of the flow *retrain*."""
        return self.ask("GET", f"deployments/name/retrain/{name}")

    def runs(self, deployment: str) -> list[Any]:
        """Its flow runs, the earliest first."""
        body = {"deployments": {"id": {"any_": [deployment]}}, "sort": "START_TIME_ASC"}
        return list(self.ask("POST", "flow_runs/filter", body))

    def start(self, deployment: str, **parameters: Any) -> str:
        """A new run now; returns its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"deployments/{deployment}/create_flow_run", body)["id"])

    def state(self, run: str) -> Any:
        return self.ask("GET", f"flow_runs/{run}")["state"]

    def wait(self, run: str, *types: str, seconds: float = 600.0) -> Any:
        """The run's state once it is of one of `types`."""
        until = time.monotonic() + seconds
        while True:
            state = self.state(run)
            if state["type"] in types:
                return state
            assert time.monotonic() < until, f"flow run {run} is {state} after {seconds:g} s"
            time.sleep(1)

    def logs(self, run: str) -> str:
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(entry["message"] for entry in self.ask("POST", "logs/filter", body))
