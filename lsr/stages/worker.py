"""The training stages on a worker's side: build what the stage trains, read its batches, run the loop.

With one worker and no Ray this runs in the driver's process just the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from lsr.cluster.train import worker_device
from lsr.core.config import from_plain
from lsr.core.progress import Progress, Quiet, RelayedProgress
from lsr.core.settings import cache_of_worker
from lsr.core.stopping import stop_on_sigterm
from lsr.engine.request import Request
from lsr.recipes.run import Run
from lsr.recipes.schema import AutoencoderStage, BaselineStage, DecoderStage, DenoiseStage, JointStage
from lsr.registry.tracking import MlflowTracker
from lsr.stages.provenance import Log
from lsr.stages.setup import Setup, Training
from lsr.store import Store, open_store
from lsr.training.checkpoints import Checkpoints
from lsr.training.environment import environment
from lsr.training.loop import train
from lsr.training.own import with_own
from lsr.training.world import World

TrainStage = AutoencoderStage | DecoderStage | DenoiseStage | JointStage | BaselineStage
S = TypeVar("S", AutoencoderStage, DecoderStage, DenoiseStage, JointStage, BaselineStage)


class _NoTracker:
    """Ranks other than 0 report nothing."""

    def last_step(self) -> int:
        return 0

    def metrics(self, step: int, values: dict[str, float]) -> None: ...

    def image(self, name: str, step: int, array: Any) -> None: ...


def _progress(store: Store, key: str | None) -> Progress:
    """Progress under `key` of the store, which the driver reads wherever this rank runs."""
    return Quiet() if key is None else RelayedProgress(partial(store.write, key))


def _log(store: Store, request: Request, plain: dict[str, Any], here: dict[str, str]) -> Log:
    return Log(
        store,
        request,
        attempt=plain["fencing"],
        submission=plain["submission"],
        environment=here,
        ids=plain["ids"],
    )


def run_worker(
    build: Callable[[Setup, S], Training], stage: type[S], plain: dict[str, Any], rank: int
) -> dict[str, Any] | None:
    """One rank of a training stage. build: of the stage, whose config class is `stage`. plain: plain data from the
    driver. Rank 0 returns the result's facts.

    SIGTERM to any rank makes all of them save after the step they are in and raise TrainingStoppedError.
    """
    request = Request.from_dict(plain["request"])
    run = from_plain(Run, request.run).train
    config = from_plain(stage, request.config)
    store = open_store(plain["store"])
    training = build(Setup(request, store, cache_of_worker(plain["cache"])), config)
    world = World.here(worker_device(run.worker.gpus))
    tracker = MlflowTracker(plain["tracking"], plain["run"]) if rank == 0 and plain["run"] else None
    here = environment(world, config.train.batch, run.micro_batch)
    log = _log(store, request, plain, here) if rank == 0 else None
    try:
        with stop_on_sigterm() as stop_requested:
            result = train(
                with_own(training.objective, config.train.objective),
                training.source,
                config.train,
                run.every,
                micro_batch=run.micro_batch,
                seed=request.seed,
                stage=request.stage,
                world=world,
                checkpoints=Checkpoints(store, request.key, plain["fencing"]),
                siblings=plain["siblings"],
                tracker=tracker or _NoTracker(),
                progress=_progress(store, plain["progress"] if rank == 0 else None),
                stop_requested=stop_requested,
            )
    finally:
        training.source.close()
        if tracker is not None:
            tracker.close()
    if result is None or log is None:
        return None
    log.finish(steps=result.steps, images_seen=result.images_seen, resumed_from=result.resumed_from)
    return {
        "system": training.system,
        "weights": {"ema": asdict(result.ema)},
        "steps": result.steps,
        "images_seen": result.images_seen,
        "metrics": result.metrics,
        "resumed_from": [asdict(one) for one in result.resumed_from],
    }
