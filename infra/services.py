"""The services profile on one machine without containers.

    python -m infra.services up --dir DIR [--json]     start S3, PostgreSQL, MLflow, Prefect with a worker, and Ray
    python -m infra.services status --dir DIR          what runs
    python -m infra.services down --dir DIR            stop all of it, in the reverse order

`set -a; . DIR/services.env; set +a` points every `lsr` command at them, with the rights of the role `promoter`
(infra/iam); jobs on Ray have those of `trainer`. Data stays in DIR for the next `up`. All ports are on loopback;
DIR/services.env holds secrets and is readable by its owner only. `infra/apt.sh` installs the programs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from pathlib import Path

from infra.local.ceph import s3_environment, start_s3
from infra.local.mlflow import start_mlflow
from infra.local.plan import BUCKET, load_plan, write_private
from infra.local.postgres import start_postgres
from infra.local.prefect import prefect_environment, start_prefect
from infra.local.ray import ray_environment, remove_temp, start_ray
from infra.local.supervisor import Supervisor, stop_all
from lsr.core.errors import ConflictError, LsrError

PROJECT = Path(__file__).resolve().parent.parent


def up(folder: Path) -> dict[str, object]:
    """Start everything below `folder`; returns addresses, pids and how many seconds each took to be ready.

    Whatever was started is stopped again if one of them fails. ConflictError if services of this folder run already.
    """
    plan = load_plan(folder)
    supervisor = Supervisor(plan.folder)
    if supervisor.running():
        raise ConflictError(f"Services of {plan.folder} run already; `python -m infra.services down` stops them.")
    remove_temp(plan.folder)
    try:
        credentials = start_s3(supervisor, plan)
        start_postgres(supervisor, plan)
        start_mlflow(supervisor, plan, credentials["mlflow"])
        where = {"LSR_STORE": f"s3://{BUCKET}/store", "MLFLOW_TRACKING_URI": plan.url("mlflow")}
        inside = where | {"LSR_HOME": str(plan.folder / "home"), "PYTHONPATH": str(PROJECT)}
        # Jobs on Ray cannot promote; the flow, which can, runs beside the Prefect worker.
        start_ray(supervisor, plan, inside | s3_environment(plan, credentials["trainer"]))
        settings = where | s3_environment(plan, credentials["promoter"])
        start_prefect(supervisor, plan, inside | settings | ray_environment(plan) | prefect_environment(plan))
    except BaseException:
        down(plan.folder)
        raise
    environment = settings | ray_environment(plan) | prefect_environment(plan)
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(environment.items())]
    path = plan.folder / "services.env"
    write_private(path, "".join(lines))
    return {
        "env": str(path),
        "services": {
            each.name: {"pid": each.pid, "seconds": supervisor.seconds.get(each.name)} for each in supervisor.running()
        },
        "urls": {name: plan.url(port) for name, port in _URLS.items()},
    }


_URLS = {"s3": "s3", "mlflow": "mlflow", "prefect": "prefect", "ray": "ray-dashboard"}


def down(folder: Path) -> list[str]:
    """Stop what runs below `folder`; returns the names. Data stays."""
    stopped = stop_all(folder.absolute())
    remove_temp(folder.absolute())
    (folder / "services.env").unlink(missing_ok=True)
    return stopped


def main(arguments: list[str] | None = None) -> int:
    """Command-line entry: one sentence and an exit code for whatever goes wrong."""
    parser = argparse.ArgumentParser(prog="python -m infra.services", description="Services of one machine.")
    parser.add_argument("command", choices=("up", "status", "down"))
    parser.add_argument("--dir", type=Path, required=True, help="folder of the services, at most 60 characters long")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        result = _run(options.command, options.dir)
    except LsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; what was started has been stopped.", file=sys.stderr)
        return 130
    print(json.dumps(result) if options.json else _readable(result))
    return 0


def _run(command: str, folder: Path) -> dict[str, object]:
    if command == "up":
        return up(folder)
    if command == "down":
        return {"stopped": down(folder)}
    running = Supervisor(folder.absolute()).running() if folder.exists() else []
    return {"services": {each.name: {"pid": each.pid} for each in running}}


def _readable(result: dict[str, object]) -> str:
    lines = []
    for name, value in result.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {key}: {_inline(entry)}" for key, entry in value.items())]
        else:
            lines.append(f"{name}: {_inline(value)}")
    return "\n".join(lines)


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
