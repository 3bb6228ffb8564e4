"""The Prefect server with its database in PostgreSQL, and a worker that runs flows as processes of this machine."""

from __future__ import annotations

import base64
import json
import sys
import urllib.request
from collections.abc import Mapping

from infra.local.plan import Plan
from infra.local.postgres import database_url
from infra.local.supervisor import Supervisor, answers

POOL = "lsr"


def prefect_environment(plan: Plan) -> dict[str, str]:
    """What a client needs; the login because a worker runs what the server tells it to."""
    return {"PREFECT_API_URL": f"{plan.url('prefect')}/api", "PREFECT_API_AUTH_STRING": plan.prefect_login}


def start_prefect(supervisor: Supervisor, plan: Plan, settings: Mapping[str, str]) -> None:
    """Start the server, then a worker of the pool `lsr` whose flows get `settings` as their environment."""
    common = {"PREFECT_HOME": str(plan.folder / "prefect"), "PREFECT_CLI_PROMPT": "false"}
    own = common | {
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url(plan, "prefect", "asyncpg"),
        "PREFECT_SERVER_API_AUTH_STRING": plan.prefect_login,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": f"{plan.url('prefect')}/api",
    }
    prefect = [sys.executable, "-m", "prefect"]
    options = ["--host", "127.0.0.1", "--port", str(plan.port("prefect"))]
    server = supervisor.start("prefect", [*prefect, "server", "start", *options], env=own)
    supervisor.wait(server, lambda: answers(f"{plan.url('prefect')}/api/health"), seconds=180)

    options = ["--pool", POOL, "--type", "process", "--name", "local"]
    worker = supervisor.start("prefect-worker", [*prefect, "worker", "start", *options], env={**common, **settings})
    supervisor.wait(worker, lambda: _worker_is_online(plan), seconds=120)


def _worker_is_online(plan: Plan) -> bool:
    login = base64.b64encode(plan.prefect_login.encode()).decode()
    request = urllib.request.Request(
        f"{plan.url('prefect')}/api/work_pools/{POOL}/workers/filter",
        data=b"{}",
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return any(worker["status"] == "ONLINE" for worker in json.load(reply))
    except OSError:
        return False
