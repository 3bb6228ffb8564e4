"""One side of `versus` in its own environment: imports its library once, then forks fresh processes for every pass.

`python -m benchmarks.data.worker SIDE` reads one request a line (a JSON object) and answers each with one line. A pass
with two workers is two processes with a core each, which read their parts as the ranks of one machine do.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.data.libraries import library_of
from benchmarks.data.sides import BEFORE, MEMBERS, SIDES, Pass, keys_of, read_sample

LIBRARIES = ("webdataset", "streaming", "litdata")
IMPORTS = {
    "lsr": ("lsr.data.batches", "lsr.store.s3", "pyarrow.parquet"),
    "whole": ("boto3",),
    "webdataset": ("boto3",),
    "streaming": ("boto3",),
}
PATIENCE = 300.0

Answer = dict[str, Any]


def load(name: str) -> str:
    """Import what side `name` needs; its library's version."""
    for module in IMPORTS.get(name, ()):
        importlib.import_module(module)
    return str(getattr(library_of(name), "__version__", "unknown")) if name in LIBRARIES else ""


def timed(name: str, job: Pass, skip: int) -> Answer:
    """Read the whole part of this rank. The clock starts after `skip` batches, or at the side's construction for 0, and
    stops at the last one; CPU is that of this process and of those it started and waited for."""
    children = _children()
    began = start = time.perf_counter()
    cpu_start = time.process_time()
    first, batches, counted, read = 0.0, 0, 0, 0
    end, cpu_end = start, cpu_start
    for batch in SIDES[name](job):
        end, cpu_end = time.perf_counter(), time.process_time()
        batches, read = batches + 1, read + len(batch[0])
        first = first or end - began
        if batches <= skip:
            start, cpu_start = end, cpu_end
        else:
            counted += len(batch[0])
    spent = cpu_end - cpu_start + _children() - children
    return {"seconds": end - start, "cpu_seconds": spent, "counted": counted, "read": read, "first_seconds": first}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def join(job: Pass, port: int) -> None:
    """Tell the libraries which rank this is, in the variables that launchers of training set."""
    mine = {"RANK": job.rank, "GLOBAL_RANK": job.rank, "LOCAL_RANK": job.rank, "NODE_RANK": 0, "NNODES": 1}
    all_of_us = {"WORLD_SIZE": job.world, "LOCAL_WORLD_SIZE": job.world, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in {**mine, **all_of_us}.items()}, MASTER_ADDR="127.0.0.1")


def _rank(name: str, job: Pass, skip: int, port: int, barrier: Any, out: Connection) -> None:
    try:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[job.rank % len(cores)]})
        torch.set_num_threads(1)
        if job.world > 1:
            join(job, port)
            if name == "streaming":
                torch.distributed.init_process_group("gloo")
        if name in BEFORE:
            BEFORE[name](job)
        barrier.wait(PATIENCE)
        out.send(timed(name, job, skip))
    except Exception as error:
        barrier.abort()
        out.send(_fault(error))


def one_pass(name: str, job: Pass, skip: int) -> Answer:
    """The figures of all ranks together: the longest one's seconds, everybody's CPU and samples."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(job.world)
    ends, ranks = [], []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for rank in range(job.world):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_rank, args=(name, replace(job, rank=rank), skip, port, barrier, there))
        process.start()
        there.close()
        ends.append(here)
        ranks.append(process)
    found = [end.recv() if end.poll(PATIENCE) else {"error": "no answer"} for end in ends]
    for process in ranks:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
    if name == "streaming":
        importlib.import_module("streaming.base.util").clean_stale_shared_memory()
    return together(found)


def together(found: list[Answer]) -> Answer:
    """One answer of several ranks'."""
    for answer in found:
        if "error" in answer:
            return answer
    counted = sum(one["counted"] for one in found)
    return {
        "seconds": max(one["seconds"] for one in found) / counted,
        "cpu_seconds": sum(one["cpu_seconds"] for one in found) / counted,
        "first_seconds": max(one["first_seconds"] for one in found),
        "read": sum(one["read"] for one in found),
    }


def write_form(name: str, job: Pass, shard_bytes: int) -> Answer:
    """Write the set again in the form that library `name` reads, if it has one of its own."""
    keys = sorted(keys_of(job))
    if name == "streaming":
        columns = dict.fromkeys(MEMBERS[job.kind], "bytes")
        with library_of(name).MDSWriter(out=job.at("mds"), columns=columns, size_limit=shard_bytes) as out:
            for key in keys:
                out.write(read_sample(job, key))
    elif name == "litdata":
        made = {"output_dir": job.at("lit"), "chunk_bytes": shard_bytes, "num_workers": 1}
        library_of(name).optimize(fn=partial(read_sample, job), inputs=keys, **made)
    return {}


def _answered(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except Exception as error:
        return _fault(error)


def _fault(error: Exception) -> Answer:
    return {"error": f"{type(error).__name__}: {(str(error).splitlines() or ['no word'])[0]}"}


def main(name: str) -> None:
    """Answer requests until there are no more."""
    # Libraries print; only answers may reach the caller.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(_answered(lambda: {"version": load(name)})), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        job = Pass(**request["job"])
        if "shard_bytes" in request:
            answer = _answered(partial(write_form, name, job, request["shard_bytes"]))
        else:
            answer = _answered(partial(one_pass, name, job, request["skip"]))
        print(json.dumps(answer), file=answers)


def request_of(job: Pass, **more: int) -> str:
    """One line that `main` reads."""
    return json.dumps({"job": asdict(job), **more})


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1])
