"""PostgreSQL for MLflow and Prefect: a cluster of its own, password logins over loopback, one role a database."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from infra.local.plan import Plan
from infra.local.supervisor import Supervisor
from lsr.core.errors import ConfigError

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
}


def start_postgres(supervisor: Supervisor, plan: Plan) -> None:
    """Start the server as an unprivileged user (it does not run as root) and make the roles `mlflow` and `prefect`."""
    programs, prefix = _programs(), _as_its_user()
    data = plan.folder / "postgres"
    fresh = not (data / "ready").exists()
    if fresh:
        _create(supervisor, plan, data, [*prefix, str(programs / "initdb")])
    settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    command = [*prefix, str(programs / "postgres"), "-D", str(data), "-p", str(plan.port("postgres")), *settings]
    # SIGINT closes the clients' connections; SIGTERM would wait for them.
    server = supervisor.start("postgres", command, stop_signal=signal.SIGINT)
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(plan.port("postgres"))]
    supervisor.wait(server, lambda: subprocess.run(ready, check=False).returncode == 0)
    if fresh:
        for name, password in (("mlflow", plan.mlflow_password), ("prefect", plan.prefect_password)):
            _create_database(supervisor, plan, programs, name, password)
        (data / "ready").touch()


def database_url(plan: Plan, name: str, driver: str) -> str:
    """The SQLAlchemy address of the database and role `name`."""
    password = {"mlflow": plan.mlflow_password, "prefect": plan.prefect_password}[name]
    return f"postgresql+{driver}://{name}:{password}@127.0.0.1:{plan.port('postgres')}/{name}"


def _programs() -> Path:
    """The folder with the newest installed server's programs."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    elsewhere = shutil.which("initdb")
    if elsewhere is None:
        raise ConfigError("PostgreSQL's server programs are not installed; `sudo infra/apt.sh` installs them.")
    return Path(elsewhere).parent


def _as_its_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]


def _create(supervisor: Supervisor, plan: Plan, data: Path, initdb: list[str]) -> None:
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    password = data.with_name("postgres.password")
    password.write_text(plan.postgres_password)
    password.chmod(0o600)
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        for path in (data, password):
            os.chown(path, user.pw_uid, user.pw_gid)
        # The server's user must be able to walk to its data through our folder, and no more than that.
        plan.folder.chmod(0o711)
    login = ["-U", "postgres", f"--pwfile={password}", "--auth=scram-sha-256"]
    supervisor.run("postgres", [*initdb, "-D", str(data), "-E", "UTF8", "--locale=C.UTF-8", *login])
    password.unlink()


def _create_database(supervisor: Supervisor, plan: Plan, programs: Path, name: str, password: str) -> None:
    # The password is a setting of the session, so that it appears in no process's arguments.
    environment = {"PGPASSWORD": plan.postgres_password, "PGOPTIONS": f"-c lsr.password={password}"}
    role = (
        f"DO $$ BEGIN EXECUTE format('CREATE ROLE {name} LOGIN PASSWORD %L', current_setting('lsr.password')); END $$;"
    )
    server = ["-h", "127.0.0.1", "-p", str(plan.port("postgres")), "-U", "postgres", "-d", "postgres"]
    command = [str(programs / "psql"), "-q", "-v", "ON_ERROR_STOP=1", *server]
    for statement in (
        f"DROP DATABASE IF EXISTS {name}",
        f"DROP ROLE IF EXISTS {name}",
        role,
        f"CREATE DATABASE {name} OWNER {name}",
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
    ):
        supervisor.run("postgres", [*command, "-c", statement], env=environment)
