"""What a figure was measured on: machine, versions, commit, load. Standard library and psutil."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "ray", "mlflow", "prefect", "webdataset", "pillow", "numpy", "pyarrow", "typer")
RESULTS = "benchmarks/results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The hardware and what runs on it. cores: those this process may use. memory_gib: of the whole machine."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """The code that was measured. dirty: tracked files differed from the commit, results excluded."""

    commit: str
    dirty: bool


def machine() -> Machine:
    """This machine."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
    )


def code() -> Code:
    """This checkout; commit `unknown` outside of one."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{RESULTS}")
    except (OSError, subprocess.SubprocessError):
        return Code(commit="unknown", dirty=True)
    return Code(commit=commit, dirty=bool(changes))


def load() -> float:
    """Processes that ran or waited for a core, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
