"""One way to open MLflow: explicit address, no `./mlruns`, no pickle, no telemetry, errors as sentences."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsr.core.errors import ConfigError, LsrError, NotFoundError, StoreError, VersionMismatchError

SQLITE = "sqlite:///"
ARTIFACTS = "mlflow-artifacts"

ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Set in every process that opens a client: no model is ever unpickled, nothing is sent anywhere, output is ours."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""Only where the environment does not say otherwise: a dead server is an error in seconds, not in minutes."""

OLDEST_SERVER = (3, 10)
"""The oldest MLflow that this code is written for."""

VERSION_SECONDS = 5.0
_checked: set[str] = set()


def connect(uri: str) -> Any:
    """An `MlflowClient` for tracking and registry at `uri`; a SQLite database and its folder are made if absent.

    uri: `sqlite:////absolute/mlflow.db`, another SQLAlchemy address or a server's http(s) address. Raises ConfigError
    for a relative SQLite path or a legacy file store, which has no registry; VersionMismatchError for a server whose
    version this client does not speak to.
    """
    if uri.startswith(SQLITE):
        database_file(uri)
    elif "://" not in uri or uri.startswith("file:"):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI must be a database or a server, found {safe(uri)!r}; "
            "use sqlite:////absolute/path/mlflow.db or http://host:port."
        )
    if uri.startswith("http"):
        reject_other_server(uri)
    os.environ.update(ENVIRONMENT)
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking._model_registry.client"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with explained(uri):
        if uri.startswith(SQLITE):
            _make_database(database_file(uri), MlflowClient)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def reject_other_server(uri: str) -> None:
    """Raises VersionMismatchError unless the server has this client's major version and is at least OLDEST_SERVER.

    Asked once a process. A server that does not tell its version is left to the calls that follow.
    """
    if uri in _checked:
        return
    import importlib.metadata
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(f"{uri.rstrip('/')}/version", timeout=VERSION_SECONDS) as reply:
            said = reply.read(100).decode("ascii", "replace").strip()
    except HTTPError:
        said = ""
    except (OSError, HTTPException, ValueError):
        return
    ours = importlib.metadata.version("mlflow")
    found = re.match(r"(\d+)\.(\d+)", said)
    theirs = (int(found[1]), int(found[2])) if found else None
    if theirs and (theirs < OLDEST_SERVER or theirs[0] != int(ours.partition(".")[0])):
        raise VersionMismatchError(
            f"The MLflow server at {safe(uri)} has version {said}, this client {ours}; the server must have the same "
            f"major version and be at least {OLDEST_SERVER[0]}.{OLDEST_SERVER[1]}. Install mlflow=={ours} there, or "
            "set MLFLOW_TRACKING_URI to another server."
        )
    _checked.add(uri)


def database_file(uri: str) -> Path:
    """The file of a `sqlite:///` address. Raises ConfigError for a relative one."""
    path = Path(uri.removeprefix(SQLITE))
    if not path.is_absolute():
        raise ConfigError(f"A SQLite address needs an absolute path (four slashes), found {uri!r}.")
    return path


def _make_database(path: Path, open_client: Callable[..., Any]) -> None:
    """Make the database file if it is absent: migrated under another name, then moved in whole.

    MLflow migrates a new file in place, step by step; two first users at once, or one that is killed, would leave
    a database that no later call can open.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        unfinished = path.with_name(f".{path.name}.new")
        # A killed maker's file, with the journal that SQLite would replay into the next one of that name.
        for left in path.parent.glob(f"{unfinished.name}*"):
            left.unlink()
        uri = f"{SQLITE}{unfinished}"
        open_client(tracking_uri=uri, registry_uri=uri).search_experiments()
        os.replace(unfinished, path)


def artifact_root(uri: str) -> str | None:
    """Where an experiment's artifacts go: beside a SQLite file; None lets a server decide."""
    return (database_file(uri).parent / ARTIFACTS).as_uri() if uri.startswith(SQLITE) else None


def safe(uri: str) -> str:
    """`uri` without its password, for messages."""
    return re.sub(r"://([^:/@]+):[^@/]*@", r"://\1:***@", uri)


@contextmanager
def explained(uri: str, missing: str = "") -> Iterator[None]:
    """Turn MLflow's errors into NotFoundError (with the sentence `missing`) and StoreError; typed errors pass."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except LsrError:
        raise
    except MlflowException as error:
        if missing and error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"):
            raise NotFoundError(missing) from error
        raise StoreError(
            f"MLflow at {safe(uri)} rejected a request or could not be reached "
            f"({error.error_code}: {_first_line(error)}); check MLFLOW_TRACKING_URI "
            "and that the server of the same version runs."
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(
            f"MLflow's storage behind {safe(uri)} failed ({type(error).__name__}: {_first_line(error)}); "
            "check its address, permissions and free space."
        ) from error


def _first_line(error: Exception) -> str:
    return safe((str(error).splitlines() or [""])[0])[:300]


def already_exists(error: Exception) -> bool:
    """Whether MLflow says that somebody else was first to create this."""
    return getattr(error, "error_code", "") in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")
