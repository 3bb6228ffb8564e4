"""Ray for this process: attach to the cluster around it, or start one on this machine and leave nothing of it behind.

A local Ray lives in a short temporary folder outside the project (its socket paths are limited to 107 bytes), asks
for a token although it serves this machine only (its ports listen on every address) and writes nothing to the home
folder of the user.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.cluster.leftovers import TEMP_PREFIX, children_naming, reap, record_path, write_record
from lsr.cluster.watch import watched
from lsr.core.errors import RunFailedError
from lsr.core.processes import ProcessMark, end

# The object store carries small results only, so the default third of the memory would be wasted.
OBJECT_STORE_BYTES = 256 << 20
# Temporary folders with longer names leave no room for `/session_<date>_<pid>/sockets/plasma_store`.
_LONGEST_ROOT = 30
_STARTS = 3


@dataclass(frozen=True, slots=True)
class Session:
    """A Ray this process may use. local: started here by us, so that its size is final. temp: its folder, if local."""

    local: bool
    temp: Path | None = None


_open: list[Session] = []


@contextmanager
def ray_session(
    home: Path, *, cpus: int | None = None, gpus: int | None = None, worker_output: bool = False
) -> Iterator[Session]:
    """Make Ray available for the length of the block.

    Uses the Ray this process is already connected to; else the cluster named by RAY_ADDRESS (set inside Ray jobs);
    else starts one here with `cpus` *logical* CPUs and ends it afterwards. home: folder that records what was
    started, so that the next session ends what a killed process left. cpus: default twice the machine's, at least 4:
    controllers and readers need a CPU beside workers that hold theirs, or all wait for ever. gpus: default all of them.
    worker_output: print what workers print, each line marked with its process.
    """
    around = current()
    if around is not None:
        yield around
    elif os.environ.get("RAY_ADDRESS"):
        with _attached(worker_output) as session:
            yield session
    else:
        cpus = cpus or max(4, 2 * (os.cpu_count() or 1))
        with _started(home, cpus=cpus, gpus=gpus, worker_output=worker_output) as session:
            yield session


def current() -> Session | None:
    """The session that is open in this process; None outside of any."""
    if _open:
        return _open[-1]
    connected = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    return Session(local=False) if connected else None


@contextmanager
def _attached(worker_output: bool) -> Iterator[Session]:
    import ray

    with _sigterm_restored():
        try:
            _init(log_to_driver=worker_output)
            yield _push(Session(local=False))
        finally:
            _open.clear()
            ray.shutdown()


@contextmanager
def _started(home: Path, *, cpus: int, gpus: int | None, worker_output: bool) -> Iterator[Session]:
    reap(home)
    temp = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=_short_root()))
    record = record_path(home)
    started: list[ProcessMark] = []
    write_record(record, temp, started)
    try:
        with _environment(_variables(temp)), _sigterm_restored():
            import ray

            try:
                _start(
                    temp,
                    include_dashboard=False,
                    num_cpus=cpus,
                    num_gpus=gpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    log_to_driver=worker_output,
                )
                started = children_naming(temp)
                write_record(record, temp, started)
                with watched(started, temp):
                    yield _push(Session(local=True, temp=temp))
            finally:
                _open.clear()
                started = children_naming(temp)
                ray.shutdown()
    finally:
        end(started, grace=5.0)
        shutil.rmtree(temp, ignore_errors=True)
        record.unlink(missing_ok=True)


def _start(temp: Path, **options: Any) -> None:
    """Start Ray's processes; tried again, because on a busy machine they can miss the 30 s that Ray gives them."""
    import ray

    for left in reversed(range(_STARTS)):
        try:
            return _init(_temp_dir=str(temp), **options)
        except Exception as error:
            ray.shutdown()
            end(children_naming(temp))
            if not left:
                reason = str(error).strip().partition("\n")[0]
                raise RunFailedError(
                    f"Ray could not be started on this machine in {_STARTS} tries: {reason} Check whether it is "
                    "overloaded or short of memory, then run the same command again."
                ) from error


def _init(**options: Any) -> None:
    """ray.init, which replaces the SIGTERM handler; the caller's own, where there is one, stays in force.

    Otherwise Ray's turns SIGTERM into SystemExit, under which these blocks close as well.
    """
    import ray

    before = signal.getsignal(signal.SIGTERM)
    ray.init(logging_level=logging.ERROR, **options)
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _push(session: Session) -> Session:
    _open.append(session)
    return session


def _short_root() -> str | None:
    """A folder for temporary files whose own name is short; None for the system's choice."""
    if len(tempfile.gettempdir()) <= _LONGEST_ROOT:
        return None
    return "/tmp" if os.access("/tmp", os.W_OK) else None


def _variables(temp: Path) -> dict[str, str]:
    """What Ray reads from the environment of this process and of those it starts."""
    token = temp / "token"
    descriptor = os.open(token, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # `uv run` would otherwise make Ray pack and ship the whole working folder.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _reread_authentication()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reread_authentication()


def _reread_authentication() -> None:
    """Ray reads mode and token once, at its import; without this an earlier import leaves the driver locked out."""
    with suppress(ImportError):
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _sigterm_restored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
