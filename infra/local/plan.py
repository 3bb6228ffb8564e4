"""Where the services of one folder listen and what their secrets are: decided once, kept for the next start."""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from lsr.core.errors import ConfigError
from lsr.core.files import write_whole

# Unix sockets below the folder must stay under the system's limit of 107 bytes.
LONGEST_FOLDER = 60
REGION = "us-east-1"
BUCKET = "lsr"
MLFLOW_BUCKET = "mlflow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Ports on 127.0.0.1 and generated secrets. The S3 keys come from the S3 server and are kept beside it."""

    folder: Path
    ports: dict[str, int]
    postgres_password: str
    mlflow_password: str
    prefect_password: str
    prefect_login: str
    ray_token: str

    def port(self, name: str) -> int:
        return self.ports[name]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"


_PORTS = (
    *("s3", "ceph-mon", "ceph-mon-v1", "postgres", "mlflow", "prefect"),
    *("ray-dashboard", "ray-gcs", "ray-client", "ray-agent", "ray-agent-grpc", "ray-metrics"),
)


def load_plan(folder: Path) -> Plan:
    """The plan of `folder`; made and written (mode 600) at the first call. ConfigError if the path is too long."""
    folder = folder.absolute()
    if len(str(folder)) > LONGEST_FOLDER:
        raise ConfigError(
            f"--dir may be {LONGEST_FOLDER} characters long at most, because sockets are made below it; found "
            f"{len(str(folder))}: {folder}. Choose a folder below /tmp or /srv."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.json"
    if path.exists():
        return Plan(folder=folder, **json.loads(path.read_text()))
    names = ("postgres_password", "mlflow_password", "prefect_password", "ray_token")
    plan = Plan(
        folder=folder,
        ports=dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True)),
        prefect_login=f"lsr:{secrets.token_hex(16)}",
        **{name: secrets.token_hex(32) for name in names},
    )
    write_private(path, json.dumps({name: value for name, value in asdict(plan).items() if name != "folder"}))
    return plan


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    write_whole(path, text, mode=0o600)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different; held open together while they are chosen."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
