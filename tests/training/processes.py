"""Ranks as real processes, forked from a server that has imported torch already."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lsr.store import open_store
from lsr.training.checkpoints import Checkpoints
from lsr.training.config import Cadence, TrainConfig
from lsr.training.loop import train
from lsr.training.protocols import Batch, Draws
from lsr.training.world import World
from tests.training.kit import RecordingTracker, Regression, VectorSource, digests

WAIT = 120
MEETING = timedelta(seconds=30)
"""How long ranks wait for one that was killed before it joined; a later death is noticed at once."""


def _rank(work: Callable[..., Any], rank: int, size: int, folder: str, arguments: tuple[Any, ...]) -> None:
    """One process: join, work, write what came out (or the error) to `<folder>/<rank>.json`, leave."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    out = Path(folder) / f"{rank}.json"
    if size > 1:
        rendezvous = f"file://{folder}/rendezvous"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size, timeout=MEETING)
    try:
        outcome = {"value": work(World.here(), *arguments)}
    except Exception as error:
        outcome = {"error": type(error).__name__, "message": str(error)}
    out.with_suffix(".part").write_text(json.dumps(outcome))
    out.with_suffix(".part").rename(out)
    if size > 1:
        dist.destroy_process_group()


def context() -> Any:
    made = mp.get_context("forkserver")
    made.set_forkserver_preload(["tests.training.processes"])
    return made


@contextmanager
def started(work: Callable[..., Any], size: int, folder: Path, *arguments: Any) -> Iterator[list[BaseProcess]]:
    """`size` ranks of `work(world, *arguments)`; none is left at the end of the block."""
    folder.mkdir(parents=True)
    processes = [
        context().Process(target=_rank, args=(work, rank, size, str(folder), arguments)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def outcomes(work: Callable[..., Any], size: int, folder: Path, *arguments: Any) -> list[dict[str, Any]]:
    """What each rank returned ({"value"}) or raised ({"error", "message"})."""
    with started(work, size, folder, *arguments) as processes:
        end = time.monotonic() + WAIT
        for process in processes:
            process.join(max(end - time.monotonic(), 0))
            assert process.exitcode is not None, "a rank hangs"
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


def fit_here(
    world: World,
    store_uri: str,
    key: str,
    fencing: int,
    config: TrainConfig,
    cadence: Cadence,
    micro_batch: int | None,
    siblings: tuple[str, ...] = (),
) -> list[str] | None:
    """Train the regression with dropout; digests of weights, EMA and optimiser on rank 0."""
    result = train(
        Regression(seed=world.rank),
        VectorSource(),
        config,
        cadence,
        micro_batch=micro_batch,
        seed=7,
        stage="test",
        world=world,
        checkpoints=Checkpoints(open_store(store_uri), key, fencing),
        siblings=siblings,
        tracker=RecordingTracker(),
    )
    return None if result is None else list(digests(result))


def metrics_here(world: World, store_uri: str, config: TrainConfig, micro_batch: int | None) -> dict[str, float] | None:
    """Like `fit_here` without dropout; the last metrics."""
    result = train(
        Regression(dropout=0.0),
        VectorSource(),
        config,
        Cadence(),
        micro_batch=micro_batch,
        seed=7,
        stage="test",
        world=world,
        checkpoints=Checkpoints(open_store(store_uri), f"w{world.size}", 1),
        tracker=RecordingTracker(),
    )
    return None if result is None else result.metrics


def collectives(world: World) -> list[Any]:
    """A sum, a broadcast and a meeting."""
    total, first = torch.full((2,), float(world.rank + 1)), torch.tensor(world.rank + 10)
    world.sum_(total)
    world.broadcast_(first)
    world.barrier()
    world.agree(None)
    return [total.tolist(), int(first)]


def disagree(world: World) -> None:
    world.agree(f"the disk of rank {world.rank} is full" if world.rank > 0 else None)


def fail_inside(world: World) -> None:
    with world.together():
        if world.rank == 1:
            raise PermissionError("no entry")


class BrokenSource(VectorSource):
    """The sample at position 30 cannot be read: of batches of 8, in the second half of batch 3."""

    def batch(self, start: int, stop: int) -> Batch:
        if start <= 30 < stop:
            raise OSError("shard 4 is damaged")
        return super().batch(start, stop)


class BrokenLoss(Regression):
    """Not finite in one micro-batch of step 2."""

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = super().loss(batch, draws)
        return (loss * float("nan"), terms) if (draws.step, draws.first) == (2, 2) else (loss, terms)


class BrokenTracker(RecordingTracker):
    def metrics(self, step: int, values: dict[str, float]) -> None:
        raise ConnectionError("the tracking server is away")


def fail_training(world: World, store_uri: str, what: str) -> None:
    """Something only one rank meets."""
    train(
        BrokenLoss() if what == "loss" else Regression(),
        BrokenSource() if what == "source" else VectorSource(),
        TrainConfig(images=160, batch=8),
        Cadence(log=5, checkpoint=50),
        micro_batch=2,
        seed=7,
        stage="test",
        world=world,
        checkpoints=Checkpoints(open_store(store_uri), "broken", 1),
        tracker=BrokenTracker() if what == "tracker" else RecordingTracker(),
        stop_requested=lambda: what == "stop" and world.rank == 1,
    )
