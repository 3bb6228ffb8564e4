"""An S3 server of this machine for as long as a measurement needs one: Ceph's gateway where it is installed, else moto.

The server is started on the last core alone, so that a client that is pinned to the first one does not share it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.ceph import s3_environment, start_s3
from infra.local.plan import BUCKET, REGION, load_plan
from infra.local.supervisor import Supervisor, answers, stop_all

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """name: the program and its version. remote: an empty prefix. env: how clients reach it."""

    name: str
    remote: str
    env: dict[str, str]


@contextmanager
def s3_server(moto: bool = False) -> Iterator[Server]:
    """A server that this process's environment points at, too; it ends with the block, also when this process is told
    to end by SIGTERM. Of the main thread. moto: do not look for Ceph.
    """
    # Ceph makes sockets below its folder, whose names must be short.
    folder = Path(tempfile.mkdtemp(prefix="lsr-b-", dir="/tmp"))
    before = dict(os.environ)
    ceph = not moto and all(shutil.which(program) for program in PROGRAMS)
    handler = signal.signal(signal.SIGTERM, _leave)
    try:
        with _ceph(folder) if ceph else _moto(folder) as (name, keys):
            for each in [each for each in os.environ if each.startswith("AWS_")]:
                del os.environ[each]
            os.environ.update(keys)
            yield Server(name=name, remote=f"s3://{BUCKET}/bench", env=keys)
    finally:
        signal.signal(signal.SIGTERM, handler)
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


@contextmanager
def _last_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def _ceph(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    plan = load_plan(folder)
    try:
        with _last_core():
            keys = start_s3(Supervisor(folder), plan)["lsr"]
        words = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=True).stdout.split()
        yield f"Ceph radosgw {words[2]}", s3_environment(plan, keys)
    finally:
        stop_all(folder)


@contextmanager
def _moto(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    with _last_core(), open(folder / "moto.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE
        while not answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"moto does not answer: {(folder / 'moto.log').read_text()[-500:]}")
            time.sleep(0.2)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
        # The bucket; moto does not ask for a signature.
        urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=PATIENCE).close()
        yield "moto", {**keys, "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": REGION}
    finally:
        process.terminate()
        process.wait(PATIENCE)
