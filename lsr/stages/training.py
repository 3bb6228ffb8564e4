"""The training stages on the driver's side: open the MLflow run, start workers through Ray Train, record the result.

The workers' side is `worker.py`; checkpoints and weights go to the store from there, never through Ray.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from lsr.cluster.train import Worker, fit
from lsr.core.config import as_plain
from lsr.core.progress import PROGRESS, Quiet, follow
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.stages.scales import log_scales
from lsr.stages.siblings import join, what_was_gone_on_from, why_from_the_start
from lsr.stages.trained import Trained
from lsr.stages.worker import TrainStage
from lsr.store.actions import commit
from lsr.store.attempts import Lease
from lsr.store.content import Blob
from lsr.training.checkpoints import Checkpoints


def train_stage(
    work: Worker,
    request: Request,
    config: TrainStage,
    ctx: Context,
    lease: Lease,
    *,
    scales: tuple[float, float] | None = None,
) -> Ref:
    """Train and record. A killed run resumes from its last checkpoint when the same request comes again.

    work: the stage's worker, importable in other processes. scales: limits of the random output scales, for their
    histogram.
    """
    siblings = join(ctx.store, request, config.train)
    ctx.say(request.key, why_from_the_start(config.train, siblings))
    ctx.ray()
    with ctx.tracked(request.stage, request.key) as run:
        tracker = ctx.tracker(run)
        tracker.params(as_plain(config))
        tracker.inputs(request.inputs, ctx.store.uri)
        with _shown(request, config, ctx) as watched:
            result = fit(
                work,
                {
                    "request": request.as_dict(),
                    "store": ctx.store.uri,
                    "cache": ctx.shared_cache(),
                    "tracking": ctx.settings.mlflow,
                    "run": run,
                    "fencing": lease.attempt.fencing,
                    "submission": lease.attempt.submission_id,
                    "ids": {name: value for name, value in {**ctx.provenance, "mlflow_run": run}.items() if value},
                    "siblings": sorted(siblings),
                    "progress": watched,
                },
                workers=ctx.run.train.workers,
                needs=ctx.run.train.worker,
                start_within=ctx.run.start_within,
                name=lease.attempt.submission_id,
                storage=ctx.ray_storage,
                max_failures=ctx.run.train.max_failures,
                temp=ctx.settings.home,
            )
        lease.check()
        trained = Trained(
            kind=request.stage,
            parents={name: ref.digest for name, ref in request.inputs.items()},
            config=as_plain(config),
            system=result["system"],
            weights={name: Blob(**plain) for name, plain in result["weights"].items()},
            steps=result["steps"],
            images_seen=result["images_seen"],
            metrics=_deterministic(result["metrics"]),
        )
        ref = commit(ctx.store, request.key, trained.record())
        Checkpoints(ctx.store, request.key, lease.attempt.fencing).finish(keep=ctx.run.train.keep_checkpoint)
        ctx.say(request.key, what_was_gone_on_from(result, config.train))
        if scales is not None:
            log_scales(tracker, request, config.train.steps, scales)
        tracker.text("run.json", json.dumps(result, indent=2, sort_keys=True))
        tracker.tags({"lsr.result": ref.digest, "lsr.attempt": lease.attempt.submission_id})
    return ref


@contextmanager
def _shown(request: Request, config: TrainStage, ctx: Context) -> Iterator[str | None]:
    """Show the workers' progress; yields the key under which rank 0 writes it, None where nobody reads it."""
    if isinstance(ctx.progress, Quiet):
        yield None
        return
    key = f"{PROGRESS}{request.key}.json"
    ctx.store.delete(key)
    try:
        with follow(partial(ctx.store.read, key), ctx.progress, request.stage, config.train.steps, "steps"):
            yield key
    finally:
        ctx.store.delete(key)


MEASURED = ("images_per_second", "data_wait", "peak_rss")


def _deterministic(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics of the mathematics; rates and memory differ from run to run and belong to MLflow only."""
    return {name: value for name, value in metrics.items() if not name.startswith(MEASURED)}
