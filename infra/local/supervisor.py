"""Starting, waiting for, recording and stopping the processes of one folder.

A process is started in a session of its own, writes to `log/<name>.log` and is recorded in `services.json` before
anything waits for it, so that `down` finds it even if `up` was killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lsr.core.errors import ConfigError, RunFailedError
from lsr.core.files import write_whole
from lsr.core.processes import ProcessMark, alive, descendants, end, mark

_LAST_LINES = 30
_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """One started service. stop_signal asks it to end; after stop_seconds it is killed with all below it."""

    name: str
    pid: int
    started: int
    space: str = ""
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 30.0

    @property
    def mark(self) -> ProcessMark:
        return ProcessMark(self.pid, self.started, self.space)


class Supervisor:
    """The processes of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        for name in ("log", "user"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)

    def running(self) -> list[Running]:
        """What is recorded and alive, in the order of starting."""
        return [each for each in _recorded(self.folder) if alive(each.mark)]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What every service gets: nothing of the caller's own settings, and a home folder below ours."""
        base = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder / "user"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "DO_NOT_TRACK": "1",
        }
        return base | dict(extra or {})

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop_signal: int = signal.SIGTERM,
        stop_seconds: float = 30.0,
    ) -> Running:
        """Start `command` as service `name`; ConfigError if its program is not installed."""
        with open(self.log(name), "ab") as log:
            try:
                process = subprocess.Popen(
                    command,
                    env=self.environment(env),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise _not_installed(command[0]) from error
        marked = mark(process.pid)
        if marked is None:
            raise self._failed(name, "ended at once")
        running = Running(name=name, **asdict(marked), stop_signal=stop_signal, stop_seconds=stop_seconds)
        self._begun[name] = time.monotonic()
        _write(self.folder, [*self.running(), running])
        return running

    def wait(self, service: Running, ready: Callable[[], bool], *, seconds: float = 120.0) -> None:
        """Wait until `ready()`; RunFailedError with the end of the log if the service ends or `seconds` pass."""
        begun = time.monotonic()
        while not ready():
            if not alive(service.mark):
                raise self._failed(service.name, "ended while it was starting")
            if time.monotonic() - begun > seconds:
                raise self._failed(service.name, f"was not ready within {seconds:g} s")
            time.sleep(_POLL_SECONDS)
        self.seconds[service.name] = round(time.monotonic() - self._begun[service.name], 1)

    def run(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, seconds: float = 120.0
    ) -> str:
        """Run a short command and return what it prints; its complaints go to the log of `name`."""
        with open(self.log(name), "ab") as log:
            try:
                done = subprocess.run(
                    command,
                    env=self.environment(env),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    timeout=seconds,
                    check=True,
                )
            except FileNotFoundError as error:
                raise _not_installed(command[0]) from error
            except subprocess.CalledProcessError as error:
                raise self._failed(name, f"needs `{command[0]}`, which exited with {error.returncode}") from error
            except subprocess.TimeoutExpired as error:
                raise self._failed(name, f"needs `{command[0]}`, which did not end within {seconds:g} s") from error
        return done.stdout.decode()

    def log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def _failed(self, name: str, what: str) -> RunFailedError:
        lines = self.log(name).read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return RunFailedError(f"Service {name} {what}. The end of {self.log(name)}:\n" + "\n".join(lines))


def stop_all(folder: Path) -> list[str]:
    """Stop what is recorded, the last started first, each before the next; returns the names of what was running.

    RunFailedError names what could not be ended.
    """
    stopped, stuck = [], []
    for service in reversed(_recorded(folder)):
        if not alive(service.mark):
            continue
        tree = [service.mark, *descendants(service.mark)]
        os.kill(service.pid, service.stop_signal)
        until = time.monotonic() + service.stop_seconds
        while alive(service.mark) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        stuck += [f"{service.name} ({each.pid})" for each in end(tree)]
        stopped.append(service.name)
    if stuck:
        raise RunFailedError(f"These processes could not be ended: {', '.join(stuck)}. End them by hand as their user.")
    (folder / "services.json").unlink(missing_ok=True)
    return stopped


def answers(url: str) -> bool:
    """Whether an HTTP server answers at `url`, with whatever status below 500."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status < 500)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def _recorded(folder: Path) -> list[Running]:
    path = folder / "services.json"
    if not path.exists():
        return []
    return [Running(**each) for each in json.loads(path.read_text())["services"]]


def _write(folder: Path, services: list[Running]) -> None:
    write_whole(folder / "services.json", json.dumps({"services": [asdict(each) for each in services]}, indent=1))


def _not_installed(program: str) -> ConfigError:
    return ConfigError(f"The program {program} is not installed; `sudo infra/apt.sh` installs what the services need.")
