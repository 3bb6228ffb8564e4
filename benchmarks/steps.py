"""The two sides of `step_overhead`, each in a process of its own: the product's loop, and the plainest loop there is.

Both train the same objective on the same micro-batches with one thread, and do a block of steps when they are told to.
The plain loop is ordinary PyTorch: torch's own AdamW and clipping, gradients that add up over micro-batches, an EMA,
and batches that are tensors already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.images import ENCODER, Sets
from lsr.core.progress import RelayedProgress
from lsr.data.batches import LatentSource, TileSource
from lsr.data.order import SampleOrder, micro_batches
from lsr.data.shards import SampleReader
from lsr.models.autoencoder import Autoencoder
from lsr.models.config import SystemConfig
from lsr.models.system import LatentSystem
from lsr.recipes.schema import Recipe
from lsr.registry.tracking import MlflowTracker
from lsr.store import Store, open_store
from lsr.training.checkpoints import Checkpoint, Checkpoints
from lsr.training.config import Cadence, TrainConfig
from lsr.training.loop import train
from lsr.training.objectives.autoencoder import AutoencoderObjective
from lsr.training.objectives.denoise import DenoiseObjective
from lsr.training.protocols import Batch, Draws, Objective, Source
from lsr.training.world import World

WARMUP = 5
"""Steps at the start of a block that are not timed: caches and batches prepared while waiting are used up by then."""
STEPS = 20
PARTS = 2
"""Micro-batches per step."""
BLOCK = WARMUP + STEPS
KEPT = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What both sides train. stage: `autoencoder` (tiles) or `denoise` (latents). address: where turns are given.
    blocks: how many there will be. uri, run: the MLflow run of the product's side.
    """

    stage: str
    recipe: Recipe
    sets: Sets
    address: str
    blocks: int
    uri: str = ""
    run: str = ""
    progress: str = ""

    @property
    def config(self) -> TrainConfig:
        return self.recipe.autoencoder.train if self.stage == "autoencoder" else self.recipe.denoise.train


def objective_of(job: Job) -> Objective:
    """The stage's objective with its initial weights."""
    torch.manual_seed(0)
    recipe = job.recipe
    if job.stage == "autoencoder":
        return AutoencoderObjective(Autoencoder(recipe.autoencoder.model), recipe.autoencoder.loss)
    system = LatentSystem(
        SystemConfig(
            autoencoder=recipe.autoencoder.model,
            renderer=recipe.decoder.renderer,
            unet=recipe.denoise.unet,
            diffusion=recipe.denoise.diffusion,
            conditional=True,
            base_scale=recipe.latents.degradations[0].factor,
            condition_upsample=recipe.latents.degradations[0].upsample,
            latent_side=recipe.tile.size // recipe.autoencoder.model.factor,
        )
    )
    return DenoiseObjective(system, recipe.denoise.loss)


def source_of(job: Job) -> TileSource | LatentSource:
    """The stage's source on the local store."""
    manifest = job.sets.tiles if job.stage == "autoencoder" else job.sets.latents
    config, store = job.config, open_store(job.sets.store)
    order = SampleOrder([row.samples for row in manifest.shards], manifest.digest, job.recipe.seed, config.window)
    reader = SampleReader(store, manifest)
    if job.stage == "autoencoder":
        return TileSource(reader, order, config.batch)
    extra = manifest.extra
    return LatentSource(
        reader,
        None,
        order,
        config.batch,
        encoder=ENCODER,
        whitening=extra["whitening"],
        degradation=extra["degradations"][0],
    )


class Turns:
    """Waits for the word at the start of each block of steps and answers with the seconds of one of its timed steps."""

    def __init__(self, address: str) -> None:
        self._line: Connection[Any, Any] = Client(address, "AF_UNIX")
        self._started = 0.0

    def at(self, step: int) -> None:
        """Call before step `step` (from 0)."""
        if step % BLOCK == WARMUP:
            self._started = time.perf_counter()
        if step % BLOCK == 0:
            if step:
                self._line.send((time.perf_counter() - self._started) / STEPS)
            self._line.recv()

    def close(self, facts: dict[str, float]) -> None:
        """Hand over what else was found, and hang up."""
        self._line.send(facts)
        self._line.close()


class _InTurns:
    """A source whose first micro-batch of a step may have to wait for its turn. size: samples per global batch."""

    def __init__(self, source: Source, turns: Turns, size: int) -> None:
        self._source, self._turns, self._size = source, turns, size

    def batch(self, start: int, stop: int) -> Batch:
        if start % self._size == 0:
            self._turns.at(start // self._size)
        return self._source.batch(start, stop)

    def verify(self) -> None:
        self._source.verify()

    def close(self) -> None:
        self._source.close()


def parts_of(config: TrainConfig) -> list[range]:
    """Places of each micro-batch in a global batch."""
    return micro_batches(range(config.batch), config.batch // PARTS)


class _Timed(Checkpoints):
    """Checkpoints that remember what the last one took."""

    seconds = 0.0

    def save(self, checkpoint: Checkpoint, tensors: dict[str, dict[str, Tensor]]) -> None:
        started = time.perf_counter()
        super().save(checkpoint, tensors)
        self.seconds = time.perf_counter() - started


def product(config: dict[str, Any], rank: int, world_size: int) -> dict[str, Any]:
    """A Ray Train worker: the product's loop with its source, tracker, progress and checkpoints."""
    job: Job = config["job"]
    store: Store = open_store(job.sets.store)
    turns, source, tracker = Turns(job.address), source_of(job), MlflowTracker(job.uri, job.run)
    # One step more than the blocks: its first micro-batch ends the last block. Metrics are logged inside the timed
    # steps, once in STEPS of them.
    steps = job.blocks * BLOCK + 1
    settings = replace(job.config, images=steps * job.config.batch)
    cadence = Cadence(checkpoint=10 * steps, log=BLOCK)
    checkpoints = _Timed(store, f"bench-{job.stage}", 1)
    train(
        objective_of(job),
        _InTurns(source, turns, job.config.batch),
        settings,
        cadence,
        micro_batch=job.config.batch // PARTS,
        seed=job.recipe.seed,
        stage=job.stage,
        world=World.here("cpu"),
        checkpoints=checkpoints,
        tracker=tracker,
        progress=RelayedProgress(Path(job.progress).write_bytes),
    )
    source.close()
    tracker.close()
    turns.close({"checkpoint": checkpoints.seconds, "threads": float(torch.get_num_threads())})
    return {}


def plain(job: Job) -> None:
    """The reference: a bare loop over micro-batches that lie in memory."""
    torch.set_num_threads(1)
    turns, source, config = Turns(job.address), source_of(job), job.config
    kept: list[list[Batch]] = [
        [source.batch(step * config.batch + part.start, step * config.batch + part.stop) for part in parts_of(config)]
        for step in range(KEPT)
    ]
    source.close()
    step_once = _plain_step(objective_of(job), config, job)
    for step in range(job.blocks * BLOCK + 1):
        turns.at(step)
        step_once(step, kept[step % KEPT])
    turns.close({})


def _plain_step(objective: Objective, config: TrainConfig, job: Job) -> Callable[[int, list[Batch]], float]:
    weights = [p for p in objective.model.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in weights]
    optimiser = torch.optim.AdamW(weights, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)

    def step_once(step: int, batches: list[Batch]) -> float:
        optimiser.zero_grad()
        total = 0.0
        for part, batch in zip(parts_of(config), batches, strict=True):
            draws = Draws(seed=job.recipe.seed, stage=job.stage, step=step, first=part.start)
            loss, _ = objective.loss(batch, draws)
            torch.autograd.backward(loss * (len(part) / config.batch))
            total += float(loss.detach()) * len(part) / config.batch
        torch.nn.utils.clip_grad_norm_(weights, config.clip)
        optimiser.step()
        torch._foreach_lerp_(average, [p.detach() for p in weights], 1 - config.ema)
        return total

    return step_once
