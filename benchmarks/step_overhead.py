"""Claim: a training step through Ray Train, MLflow and the loader takes at most 5 % longer than the same step bare.

Candidate: the product's loop in a Ray Train worker with its source on a local store, metrics to MLflow (SQLite) every
20 steps, and progress. Reference: a bare PyTorch loop on tensors in memory, in a process without Ray. One process and
one thread a side; they take turns in blocks of steps, so that no step of one runs beside a step of the other. Starting
Ray and the worker, and writing a checkpoint, are facts of their own.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, Figure, publish
from benchmarks.harness import PAIRS, Measured, Target, compare
from benchmarks.images import Sets, make_sets
from benchmarks.steps import PARTS, STEPS, Job, plain, product
from benchmarks.surroundings import load
from lsr.cluster.session import ray_session
from lsr.cluster.train import fit
from lsr.recipes import load_recipe
from lsr.registry.runs import owned_run

STAGES = ("autoencoder", "denoise")
TARGET = Target(sense="at most", limit=1.05)
WARMUPS = 1

Facts = dict[str, float | int | str]


def _turn(line: Connection[Any, Any]) -> Callable[[], float]:
    """A side of the harness: let the process at the other end do a block; the seconds of one of its steps."""

    def side() -> float:
        line.send("go")
        seconds: float = line.recv()
        return seconds

    return side


def _finish(line: Connection[Any, Any]) -> dict[str, float]:
    """Let a process do its last step and end; the facts it hands over."""
    line.send("go")
    facts: dict[str, float] = line.recv()
    return facts


def _in_turns(job: Job, folder: Path, listener: Listener, facts: Facts) -> Measured:
    """Both sides of one stage: a bare process, then a Ray Train run, then the turns between them."""
    bare = multiprocessing.get_context("spawn").Process(target=plain, args=(job,), daemon=True)
    bare.start()
    bare_line = listener.accept()
    started = time.perf_counter()

    def turns() -> tuple[Measured, dict[str, float]]:
        line = listener.accept()
        facts[f"{job.stage}: seconds from asking Ray Train to its worker being ready"] = round(
            time.perf_counter() - started, 1
        )
        measured = compare(_turn(line), _turn(bare_line), pairs=PAIRS, warmups=WARMUPS)
        found = _finish(line)
        _finish(bare_line)
        return measured, found

    # Ray Train wants the main thread for its signals, so the turns are given from another one; a daemon, because it
    # would wait for ever for a side that died.
    done: list[tuple[Measured, dict[str, float]]] = []
    giving = threading.Thread(target=lambda: done.append(turns()), name="turns", daemon=True)
    giving.start()
    fit(product, {"job": job}, workers=1, name=f"bench-{job.stage}", storage=str(folder / "ray-train"), temp=folder)
    giving.join()
    bare.join()
    ((measured, found),) = done
    facts[f"{job.stage}: ms to write a checkpoint"] = round(found["checkpoint"] * 1e3, 1)
    if found["threads"] != 1:
        raise RuntimeError(f"The worker had {found['threads']:g} threads and the bare loop 1; the ratio would be void.")
    return measured


def _stage(stage: str, folder: Path, sets: Sets, facts: Facts) -> Figure:
    recipe = load_recipe("demo")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    address = str(folder / f"{stage}.socket")
    with (
        owned_run(uri, experiment="bench", key=stage, stage=stage) as run,
        Listener(address, "AF_UNIX") as listener,
    ):
        job = Job(
            stage=stage,
            recipe=recipe,
            sets=sets,
            address=address,
            blocks=PAIRS + WARMUPS,
            uri=uri,
            run=run,
            progress=str(folder / "progress.json"),
        )
        measured = _in_turns(job, folder, listener, facts)
    config = job.config
    return Figure(
        title=f"step of *{stage}* (batch {config.batch}, {PARTS} micro-batches)",
        candidate="the product's loop in a Ray Train worker, metrics to MLflow, batches from shards",
        reference="a bare PyTorch loop on tensors in memory",
        unit=f"one step, the mean of {STEPS}",
        measured=measured,
        value=measured.cost(),
        target=TARGET,
    )


def measure(folder: Path) -> Claim:
    """Make the sets below `folder`, then measure each stage."""
    recipe = load_recipe("demo")
    sets = make_sets(folder, replace(recipe.tile, max_per_image=20), recipe.latents, recipe.autoencoder.model, ways=2)
    before = load()
    facts: Facts = {}
    started = time.perf_counter()
    with ray_session(folder / "home"):
        facts["seconds to start Ray"] = round(time.perf_counter() - started, 1)
        figures = tuple(_stage(stage, folder, sets, facts) for stage in STAGES)
    return Claim(
        name="step_overhead",
        claim="A step through Ray Train, MLflow and the loader takes at most 5 % longer than the same step bare.",
        figures=figures,
        load_before=before,
        facts=facts,
    )


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="lsr-bench-", dir="/tmp") as folder:
        publish(measure(Path(folder)))


if __name__ == "__main__":
    main()
