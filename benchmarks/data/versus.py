"""Reading tiles and latents: the trainer's source beside other loaders and beside decoding the same bytes from memory.

Every side reads the same samples in a shuffled order and stacks batches of 16, in fresh processes of one core each:
one, or two that read their parts as the ranks of one machine do. Sides take turns. Figures are client CPU-seconds an
image and wall time.

- local: files that the system holds in memory; the first SKIPPED batches, in which readers open their files, are left
  out on every side.
- s3: a server of this machine (Ceph's gateway, else moto), every side's cache empty, from the construction of the
  reader to its last batch; `whole` gets whole tars by one GET after the other.

A library that the main environment lacks runs in one of its own, given as NAME=PYTHON; one that does not run is
reported so. `python -m benchmarks.data.versus [--rounds N] [--minutes M] [NAME=PYTHON ...]` writes
results/data/versus.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.data.figures import rows_of, verdicts_of
from benchmarks.data.server import Server, s3_server
from benchmarks.data.sets import Sizes, draw, upload
from benchmarks.data.sides import BATCH, BUFFER, MEMBERS, WINDOW, Pass
from benchmarks.data.worker import LIBRARIES, Answer, request_of
from benchmarks.surroundings import ROOT, code, load, machine

ROUNDS, SKIPPED, MINUTES = 6, 6, 13.0
WORKERS = (1, 2)
SIDES = {
    "local": ("memory", "memory_once", "lsr", "files", "webdataset", "streaming", "litdata"),
    "s3": ("memory", "lsr", "whole", "webdataset", "streaming", "litdata"),
}
OUT = Path(__file__).parents[1] / "results" / "data" / "versus.json"

Case = tuple[str, str, int, str]
"""place, kind, workers, side"""


class Worker:
    """`benchmarks.data.worker` of one side, running. version: of its library, or why it does not run."""

    def __init__(self, side: str, python: str, folder: Path, env: Mapping[str, str]) -> None:
        # LitData empties its cache folders, by default `data` and `chunks` in the machine's temporary folder.
        names = ("DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER")
        own = {name: str(folder / "litdata" / name) for name in names}
        homes = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        command = [python, "-m", "benchmarks.data.worker", side]
        self._log = folder / f"{side}.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **env, **own, **homes}, cwd=ROOT, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.runs, self.version = False, ""

    def greet(self) -> None:
        """Wait until it has imported its library."""
        answer = self._answer()
        self.runs = "error" not in answer
        self.version = answer["version"] if self.runs else f"does not run: {answer['error']}"

    def ask(self, request: str) -> Answer:
        """Its answer; RuntimeError when the side failed."""
        assert self._process.stdin is not None
        print(request, file=self._process.stdin, flush=True)
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _answer(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            found: Answer = json.loads(line)
            return found
        return {"error": (self._log.read_text().strip().splitlines() or ["no word"])[-1]}

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def workers_of(folder: Path, pythons: Mapping[str, str], server: Server) -> Iterator[dict[str, Worker]]:
    """A worker a side."""
    # Streaming and LitData read their endpoints and leave to speak HTTP from variables of their own.
    env = {**server.env, "S3_ENDPOINT_URL": server.env["AWS_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true"}
    found: dict[str, Worker] = {}
    try:
        for side in dict.fromkeys(side for sides in SIDES.values() for side in sides):
            found[side] = Worker(side, pythons.get(side, sys.executable), folder, env)
        for worker in found.values():
            worker.greet()
        yield found
    finally:
        for worker in found.values():
            worker.close()


def prepare(workers: Mapping[str, Worker], folder: Path, shard_bytes: Mapping[str, int]) -> dict[str, str]:
    """Write the libraries' own forms of the sets; each library's version, or why it does not run."""
    versions = {}
    for name in LIBRARIES:
        versions[name] = workers[name].version
        try:
            for kind, size in shard_bytes.items() if workers[name].runs else ():
                job = Pass(kind=kind, folder=str(folder), remote=None, cache="")
                workers[name].ask(request_of(job, shard_bytes=size))
        except RuntimeError as error:
            versions[name] = f"does not run: {error}"
    return versions


def cases_of(versions: Mapping[str, str]) -> list[Case]:
    """Everything that is measured."""
    runs = [
        (place, kind, world, side)
        for place, kind, world in product(SIDES, MEMBERS, WORKERS)
        for side in SIDES[place]
        if not versions.get(side, "").startswith("does not run")
    ]
    return [case for case in runs if case[3] != "memory_once" or case[1] == "latents"]


def run(case: Case, workers: Mapping[str, Worker], folder: Path, server: Server) -> Answer:
    """One pass with an empty cache; an answer with `error` when the side fails."""
    place, kind, world, side = case
    cache = Path(tempfile.mkdtemp(prefix="cache-", dir=folder))
    job = Pass(
        kind=kind,
        folder=str(folder),
        remote=server.remote if place == "s3" else None,
        cache=str(cache),
        world=world,
    )
    try:
        return workers[side].ask(request_of(job, skip=SKIPPED if place == "local" else 0))
    except RuntimeError as error:
        return {"error": str(error)}
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def measure(
    folder: Path,
    pythons: Mapping[str, str],
    rounds: int,
    sizes: Sizes,
    minutes: float = MINUTES,
    moto: bool = False,
) -> dict[str, Any]:
    """The record: medians by case, ours over memory and over the best other side, and what it was measured on.

    No round is begun that would probably end after `minutes`.
    """
    before, shard_bytes = load(), draw(folder, sizes)
    with s3_server(moto) as server, workers_of(folder, pythons, server) as workers:
        versions = prepare(workers, folder, shard_bytes)
        upload(folder, server.remote)
        taken: dict[Case, list[Answer]] = {case: [] for case in cases_of(versions)}
        start = time.monotonic()
        for turn in range(rounds):
            for case in list(taken)[:: 1 if turn % 2 == 0 else -1]:
                if not any("error" in answer for answer in taken[case]):
                    taken[case].append(run(case, workers, folder, server))
            spent = (time.monotonic() - start) / 60
            print(f"round {turn + 1}/{rounds}, {spent:.1f} min", file=sys.stderr)
            if spent * (turn + 2) / (turn + 1) > minutes:
                break
    done = max(map(len, taken.values()))
    setup = {**asdict(sizes), "batch": BATCH, "rounds": done, "window": WINDOW, "webdataset_buffer": BUFFER}
    return {
        "setup": {**setup, "shard_bytes": shard_bytes, "skipped_batches": {"local": SKIPPED, "s3": 0}},
        "s3_server": server.name,
        "two_workers": "two processes with a core each, ranks 0 and 1 of 2",
        "versions": versions,
        "machine": asdict(machine()),
        **asdict(code()),
        "load": {"before": before, "after": load()},
        "targets": verdicts_of(taken),
        "rows": rows_of(taken),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measure every side in turns and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data.versus")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("python", nargs="*", metavar="NAME=PYTHON")
    options = parser.parse_args(words)
    pythons = dict(word.partition("=")[::2] for word in options.python)
    with tempfile.TemporaryDirectory(prefix="lsr-versus-") as name:
        record = measure(Path(name), pythons, options.rounds, Sizes(), options.minutes)
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["targets"], indent=1))


if __name__ == "__main__":
    main()
