"""The training stages on the driver's side: open the MLflow run, start workers through Ray Train, record the result.

The workers' side is `worker.py`; checkpoints and weights go to the store from there, never through Ray.
"""

from __future__ import annotations

import json

from lsr.cluster.train import Worker, fit
from lsr.core.config import as_plain
from lsr.core.progress import follow
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.stages.scales import log_scales
from lsr.stages.siblings import join, what_was_gone_on_from, why_from_the_start
from lsr.stages.trained import Trained
from lsr.stages.worker import TrainStage
from lsr.store.attempts import Lease
from lsr.store.content import commit
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
    """Train and record. A killed run goes on from its last checkpoint when the same request comes again.

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
        watched = ctx.settings.home / "progress" / f"{request.key[:12]}.json"
        with follow(watched, ctx.progress, request.stage, config.train.steps, "steps"):
            result = fit(
                work,
                {
                    "request": request.as_dict(),
                    "store": ctx.store.uri,
                    "cache": str(ctx.settings.cache),
                    "tracking": ctx.settings.mlflow,
                    "run": run,
                    "fencing": lease.attempt.fencing,
                    "submission": lease.attempt.submission_id,
                    "ids": {name: value for name, value in {**ctx.provenance, "mlflow_run": run}.items() if value},
                    "siblings": sorted(siblings),
                    "progress": str(watched),
                },
                workers=ctx.run.train.workers,
                cpus_per_worker=ctx.run.train.worker.cpus,
                gpus_per_worker=ctx.run.train.worker.gpus,
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
            weights=result["weights"],
            steps=result["steps"],
            images_seen=result["images_seen"],
            metrics=_deterministic(result["metrics"]),
        )
        ref = commit(
            ctx.store,
            kind=request.stage,
            key=request.key,
            directory=f"models/{request.stage}",
            manifest=trained.to_bytes(),
        )
        Checkpoints(ctx.store, request.key, lease.attempt.fencing).finish(keep=ctx.run.train.keep_checkpoint)
        ctx.say(request.key, what_was_gone_on_from(result, config.train))
        if scales is not None:
            log_scales(tracker, request, config.train.steps, scales)
        tracker.text("run.json", json.dumps(result, indent=2, sort_keys=True))
        tracker.tags({"lsr.result": ref.digest, "lsr.attempt": lease.attempt.submission_id})
    return ref


MEASURED = ("images_per_second", "data_wait", "peak_rss")


def _deterministic(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics of the mathematics; rates and memory differ from run to run and belong to MLflow only."""
    return {name: value for name, value in metrics.items() if not name.startswith(MEASURED)}
