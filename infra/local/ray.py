"""A Ray head with its job server on loopback. Every request needs the token, whoever can reach the port."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.local.plan import Plan, write_private
from infra.local.supervisor import Supervisor, answers

# Room for the job's own process beside its workers; see lsr.cluster.session.
CPUS = max(4, 2 * (os.cpu_count() or 1))


def ray_environment(plan: Plan) -> dict[str, str]:
    """What a client needs to submit jobs."""
    return {
        "LSR_RAY_JOBS_ADDRESS": plan.url("ray-dashboard"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(plan.folder / "ray.token"),
    }


def start_ray(supervisor: Supervisor, plan: Plan, settings: Mapping[str, str]) -> None:
    """Start the head; its jobs get `settings` as their environment, secrets included, so that no request carries them.

    Its folder is a short one outside, because of its socket paths; `down` removes it.
    """
    token = plan.folder / "ray.token"
    write_private(token, plan.ray_token)
    temp = Path(tempfile.mkdtemp(prefix="lsr-ray-", dir="/tmp"))
    _remember(plan.folder, temp)
    environment = {
        **settings,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(temp),
    }
    ports = {
        "--port": "ray-gcs",
        "--dashboard-port": "ray-dashboard",
        "--ray-client-server-port": "ray-client",
        "--dashboard-agent-listen-port": "ray-agent",
        "--dashboard-agent-grpc-port": "ray-agent-grpc",
        "--metrics-export-port": "ray-metrics",
    }
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"{option}={plan.port(name)}" for option, name in ports.items()]
    command += ["--dashboard-host=127.0.0.1", "--include-dashboard=true", f"--num-cpus={CPUS}"]
    command += [f"--temp-dir={temp}", f"--object-store-memory={256 << 20}"]
    # After jobs have run, it drains for up to 30 s.
    head = supervisor.start("ray", command, env=environment, stop_seconds=60)
    supervisor.wait(head, lambda: answers(f"{plan.url('ray-dashboard')}/api/version"), seconds=180)


def remove_temp(folder: Path) -> None:
    """Remove the folders of heads that were started for `folder`."""
    note = folder / "ray.temp"
    if note.exists():
        for line in note.read_text().splitlines():
            if Path(line).name.startswith("lsr-ray-"):
                shutil.rmtree(line, ignore_errors=True)
        note.unlink()


def _remember(folder: Path, temp: Path) -> None:
    with open(folder / "ray.temp", "a") as note:
        note.write(f"{temp}\n")
