"""Processor time of bringing a shard from S3 to a checked file: ours beside boto3's own transfer and its digest.

Ours is one stream, hashed as it is written; boto3's downloads parts side by side and the file is hashed afterwards,
at the sizes of S3Options. `body` only receives the bytes, the least that any of them can cost. In turns, in one
process, from one server of this machine.

`python -m benchmarks.data.download` writes results/data/download.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig

from benchmarks.data.figures import spread
from benchmarks.data.server import s3_server
from benchmarks.surroundings import code, load, machine
from lsr.store import open_store
from lsr.store.s3_options import S3Options

SIZES = (26 << 20, 64 << 20)
TURNS = 9
OUT = Path(__file__).parents[1] / "results" / "data" / "download.json"

Row = dict[str, Any]


def ways(remote: str, key: str, path: Path) -> dict[str, Callable[[], str]]:
    """How to get `key` to `path`, by name; each returns what it took the bytes for."""
    store, client, part = open_store(remote), boto3.client("s3"), S3Options().part_bytes
    bucket, _, prefix = remote.removeprefix("s3://").partition("/")
    at = {"Bucket": bucket, "Key": f"{prefix}/{key}"}
    parts = TransferConfig(multipart_threshold=2 * part, multipart_chunksize=part, max_concurrency=4)

    def boto() -> str:
        client.download_file(**at, Filename=str(path), Config=parts)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def body() -> str:
        client.get_object(**at)["Body"].read()
        return ""

    return {"ours": lambda: store.download(key, path), "boto3": boto, "body": body}


def timed(call: Callable[[], str], mib: float, digest: str) -> tuple[float, float]:
    """Milliseconds of this process's processor and of the clock, a MiB."""
    cpu, wall = time.process_time(), time.perf_counter()
    got = call()
    spent = ((time.process_time() - cpu) * 1e3 / mib, (time.perf_counter() - wall) * 1e3 / mib)
    if got not in ("", digest):
        raise RuntimeError(f"Expected bytes of digest {digest}, received {got}.")
    return spent


def compare(remote: str, size: int, turns: int, folder: Path) -> Row:
    """The record of one object of `size` random bytes: medians, and theirs over ours, turn by turn."""
    data = os.urandom(size)
    digest, mib = hashlib.sha256(data).hexdigest(), size / 2**20
    open_store(remote).write("shard", data)
    calls = ways(remote, "shard", folder / "file")
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            found = timed(call, mib, digest)
            if turn:
                spent[name].append(found)
    return {
        "mib": mib,
        "cpu_ms_per_mib": {name: _median([cpu for cpu, _ in found]) for name, found in spent.items()},
        "wall_ms_per_mib": {name: _median([wall for _, wall in found]) for name, found in spent.items()},
        "cpu_of_boto3_over_ours": spread([b[0] / a[0] for a, b in zip(spent["ours"], spent["boto3"])]),
    }


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def main() -> None:
    """Measure and write the record."""
    before = load()
    with s3_server() as server, tempfile.TemporaryDirectory() as name:
        rows = [compare(server.remote, size, TURNS, Path(name)) for size in SIZES]
        facts = {"s3_server": server.name, "turns": TURNS}
    record = {**facts, "machine": asdict(machine()), **asdict(code()), "load": {"before": before, "after": load()}}
    OUT.write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
