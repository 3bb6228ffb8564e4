"""The run: how a recipe is carried out. No field of it enters a key, so that changing it changes no result's meaning.

A run is a Python function that returns a `Run`. A team's own is `--run package.module:function`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsr.core.config import Config, Count, Positive, PositiveFloat
from lsr.core.resources import Resources
from lsr.inference.config import ExecutorConfig
from lsr.recipes.loading import load
from lsr.training.config import Cadence


@dataclass(frozen=True, kw_only=True, slots=True)
class MapRun(Config):
    """A stage that maps one function over shards."""

    tasks: Positive = 2
    """At most so many processes at a time; fewer where the cluster cannot hold them."""
    worker: Resources = Resources()
    """Of each process."""
    driver: Resources = Resources()
    """Of the process that hands out the shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRun(Config):
    """Every training stage."""

    workers: Count = 1
    """Training processes; each sees its share of every global batch. 0 trains in the process that runs the stage,
    without Ray."""
    worker: Resources = Resources()
    """Of each process."""
    driver: Resources = Resources()
    """Of the process that starts the workers."""
    micro_batch: Positive | None = None
    """At most so many images per forward and backward pass; null takes a worker's whole share. Batches and gradients
    stay as they are but for their last bits; masks of dropout and weights of adversarial losses are those of a pass."""
    max_failures: Count = 2
    """Restarts of the workers from the last checkpoint."""
    keep_checkpoint: bool = True
    """A finished training keeps the checkpoint from which a longer one can resume, until `lsr gc` removes it by age."""
    every: Cadence = Cadence()
    """How often it logs, draws and saves."""

    def faults(self) -> list[str]:
        if self.workers > 1 and self.worker.gpus % 1:
            return [
                f"worker.gpus must be a whole number with {self.workers} workers, found {self.worker.gpus:g}: "
                "processes that share a GPU cannot exchange gradients over NCCL."
            ]
        return []


@dataclass(frozen=True, kw_only=True, slots=True)
class Run(Config):
    """How a recipe is carried out: processes, resources, cadences, limits."""

    name: str
    """Shown in logs."""
    shard: MapRun = MapRun()
    """Stage *shard*."""
    tile: MapRun = MapRun()
    """Stage *tile*."""
    train: TrainRun = TrainRun()
    """Stages *autoencoder*, *decoder*, *denoise*, *joint*, and *baseline* of studies."""
    latents: MapRun = MapRun()
    """Stage *latents*."""
    latents_batch: Positive = 32
    """Tiles per call of the encoder."""
    evaluate: Resources = Resources()
    """Stages *evaluate* and *measure*."""
    infer: MapRun = MapRun()
    """Stage *infer*."""
    executor: ExecutorConfig = ExecutorConfig()
    """How *evaluate*, *measure* and *infer* put a system on their device."""
    start_within: PositiveFloat = 900.0
    """Seconds that a stage waits for its resources before it gives up."""


BUILT_IN = {
    "laptop": "lsr.recipes.run:laptop",
    "one-gpu": "lsr.recipes.run:one_gpu",
    "cluster": "lsr.recipes.run:cluster",
}


def laptop() -> Run:
    """Two CPU cores, no GPU."""
    return Run(name="laptop", train=TrainRun(workers=2, every=Cadence(image=200, checkpoint=200)))


def one_gpu() -> Run:
    """One node with one GPU and at least 8 cores."""
    gpu = Resources(cpus=4, gpus=1)
    data = MapRun(tasks=8)
    return Run(
        name="one-gpu",
        shard=data,
        tile=data,
        train=TrainRun(workers=1, worker=gpu),
        latents=MapRun(tasks=1, worker=gpu),
        latents_batch=128,
        evaluate=gpu,
        infer=MapRun(tasks=1, worker=gpu),
    )


def cluster() -> Run:
    """Eight GPUs, on one node or several, with at least 8 cores each."""
    gpu = Resources(cpus=4, gpus=1)
    data = MapRun(tasks=32)
    return Run(
        name="cluster",
        shard=data,
        tile=data,
        train=TrainRun(workers=8, worker=gpu, every=Cadence(checkpoint=2000)),
        latents=MapRun(tasks=8, worker=gpu),
        latents_batch=128,
        evaluate=gpu,
        infer=MapRun(tasks=8, worker=gpu),
    )


def load_run(name: str, overrides: Mapping[str, str] | None = None) -> Run:
    """The run called `name` (built in, or `package.module:function`), fields overridden by dotted name, checked whole.

    Raises ConfigError for an unknown name, an unknown field, or every broken rule at once.
    """
    return load("run", Run, BUILT_IN, name, overrides)
