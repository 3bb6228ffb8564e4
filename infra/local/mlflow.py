"""The MLflow server: runs and registry in PostgreSQL, artifacts in its own bucket, which clients reach through it."""

from __future__ import annotations

import sys

from infra.local.ceph import s3_environment
from infra.local.plan import MLFLOW_BUCKET, Plan
from infra.local.postgres import database_url
from infra.local.supervisor import Supervisor, answers


def start_mlflow(supervisor: Supervisor, plan: Plan, credentials: dict[str, str]) -> None:
    """Start the server. Addresses with passwords go through its environment, not its arguments."""
    environment = s3_environment(plan, credentials) | {
        "MLFLOW_BACKEND_STORE_URI": database_url(plan, "mlflow", "psycopg2"),
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{MLFLOW_BUCKET}/artifacts",
        # The job runner costs 2 GB and serves functions that are not used here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    options = ["--host", "127.0.0.1", "--port", str(plan.port("mlflow")), "--workers", "1"]
    server = supervisor.start("mlflow", [sys.executable, "-m", "mlflow", "server", *options], env=environment)
    supervisor.wait(server, lambda: answers(f"{plan.url('mlflow')}/health"), seconds=180)
