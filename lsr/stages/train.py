"""The training stages on the driver's side: open the MLflow run, start the workers through Ray Train, record the result.

The workers' side is `train_worker.py`; checkpoints and weights go to the store from there, never through Ray.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.recipes.schema import AutoencoderStage, DecoderStage, DenoiseStage, JointStage
from lsr.stages.context import Context
from lsr.stages.line import Request
from lsr.stages.results import Trained
from lsr.store.attempts import Lease
from lsr.store.content import commit

TrainStage = AutoencoderStage | DecoderStage | DenoiseStage | JointStage


def make(request: Request, config: TrainStage, ctx: Context, lease: Lease) -> Ref:
    """Train and record. A killed run goes on from its last checkpoint when the same request comes again."""
    from lsr.cluster.train import fit
    from lsr.stages.train_worker import work

    ctx.ray()
    run = ctx.open_run(request, {"stage": request.stage, **_flat(as_plain(config))}, lease)
    outcome = "FAILED"
    try:
        result = fit(
            work,
            {
                "request": asdict(request),
                "store": ctx.store.uri,
                "cache": str(ctx.settings.cache),
                "tracking": ctx.settings.mlflow,
                "run": run,
                "fencing": lease.attempt.fencing,
            },
            workers=ctx.compute.workers,
            cpus_per_worker=ctx.compute.cpus_per_worker,
            gpus_per_worker=ctx.compute.gpus_per_worker,
            name=lease.attempt.submission_id,
            storage=ctx.ray_storage(),
            max_failures=ctx.compute.max_failures,
            temp=Path(ctx.settings.home / "ray"),
        )
        lease.check()
        manifest = Trained(
            kind=request.stage,
            parents={name: ref.digest for name, ref in request.inputs.items()},
            config=as_plain(config),
            system=result["system"],
            weights=result["weights"],
            steps=result["steps"],
            images_seen=result["images_seen"],
            metrics=result["metrics"],
        )
        ref = commit(
            ctx.store,
            kind=request.stage,
            key=request.key,
            directory=f"models/{request.stage}",
            manifest=manifest.to_bytes(),
        )
        ctx.describe_run(run, {"lsr.result": ref.digest, "lsr.workers": str(result.get("workers"))})
        outcome = "FINISHED"
        return ref
    finally:
        ctx.close_run(run, outcome)


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted names, for MLflow's parameters."""
    out: dict[str, Any] = {}
    for name, value in plain.items():
        if isinstance(value, dict):
            out.update(_flat(value, f"{prefix}{name}."))
        else:
            out[f"{prefix}{name}"] = value
    return out
