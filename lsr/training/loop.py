"""The training loop: micro-batches, one sum, one update, and a state that survives being killed.

Every rank takes a contiguous share of the global batch and cuts it into micro-batches; the gradients of
(micro-batch's mean loss) * (its size / batch) add up in one flat buffer, which is summed over ranks once per step. All
draws are functions of the sample's position or of the batch (dropout: of the micro-batch, too), so a run killed at any
moment and started again ends with the same bits at the same world size, micro-batch, threads, device kind and torch
version.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lsr.core.errors import RunFailedError
from lsr.core.progress import Progress, Quiet
from lsr.data.order import micro_batches, share_of
from lsr.store.content import Blob
from lsr.training.checkpoints import Checkpoint, Checkpoints, Resume, Tensors
from lsr.training.config import Cadence, TrainConfig
from lsr.training.environment import deterministic_algorithms, differences, environment, seed_generator
from lsr.training.flat import FlatGradients
from lsr.training.meter import Meter
from lsr.training.protocols import Batch, Draws, Objective, Source, Tracker, TrainingStoppedError
from lsr.training.state import TrainState
from lsr.training.world import World

_LOG = logging.getLogger(__name__)

# Besides the loss terms, two flags travel with the gradients, so that ranks agree on them without another collective.
_FAILED, _STOP, _FLAGS = 0, 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What a run made. ema: the objective's product, averaged. digests: sha256 of each part of the last state. metrics:
    the last ones logged. resumed_from: every checkpoint that the result descends from, with a note where going on was
    not bit-exact.
    """

    steps: int
    images_seen: int
    ema: Blob
    digests: dict[str, str]
    metrics: dict[str, float]
    resumed_from: tuple[Resume, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One finished step. first: this rank's first micro-batch, for the image."""

    metrics: dict[str, float]
    first: Batch
    stop: bool


def train(
    objective: Objective,
    source: Source,
    config: TrainConfig,
    cadence: Cadence,
    *,
    micro_batch: int | None,
    seed: int,
    stage: str,
    world: World,
    checkpoints: Checkpoints,
    siblings: Sequence[str] = (),
    tracker: Tracker,
    progress: Progress | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> TrainResult | None:
    """Train until config.steps, from the newest checkpoint if there is one. The result on rank 0, None on the others.

    micro_batch: at most so many samples per forward and backward pass; None takes a rank's whole share at once.
    siblings: action keys of runs that differ in their duration alone; a run without a checkpoint of its own resumes
    from one of theirs. stop_requested: asked once per step on every rank; one True makes all save a checkpoint and
    raise TrainingStoppedError. Raises ConfigError for more ranks than samples in a batch, RunFailedError for a loss
    that is not finite, and on every rank when one rank fails.
    """
    objective.to(world.device)
    with deterministic_algorithms():
        run = _Run(objective, source, config, cadence, micro_batch=micro_batch, seed=seed, stage=stage, world=world)
        run.restore(checkpoints, siblings)
        with (progress or Quiet()).task(stage, config.steps, "steps") as task:
            task.advance(run.state.step)
            while run.state.step < config.steps:
                step = run.step(stop_requested())
                run.report(step, tracker)
                last = run.state.step == config.steps
                parting = run.state.step == config.common_steps
                if last or parting or step.stop or run.state.step % cadence.checkpoint == 0:
                    run.save(checkpoints)
                if step.stop and not last:
                    raise TrainingStoppedError(
                        f"Stage {stage} was asked to stop and saved its state after step {run.state.step} of "
                        f"{config.steps}; run the same command to resume."
                    )
                task.advance(1, note=f"loss {step.metrics['loss']:.4g}")
        return run.publish(checkpoints)


class _Run:
    """One rank's side of a run."""

    def __init__(
        self,
        objective: Objective,
        source: Source,
        config: TrainConfig,
        cadence: Cadence,
        *,
        micro_batch: int | None,
        seed: int,
        stage: str,
        world: World,
    ):
        self.objective, self.source, self.config = objective, source, config
        self.cadence, self.seed, self.stage, self.world = cadence, seed, stage, world
        self.parts = micro_batches(share_of(config.batch, world.rank, world.size), micro_batch)
        self.terms = ("loss", *objective.terms)
        self.state = TrainState(objective.model, config)
        parameters = list(self.state.trainable.values())
        self.flat = FlatGradients(parameters, _FLAGS + len(self.terms), world.device)
        self.environment = environment(world, config.batch, micro_batch)
        self.resumed_from: tuple[Resume, ...] = ()
        self.metrics: dict[str, float] = {}
        self.meter = Meter()

    def restore(self, checkpoints: Checkpoints, siblings: Sequence[str]) -> None:
        """Rank 0 reads the newest checkpoint, else one of a run of another duration; all take over its state, or its
        initial weights where there is none.
        """
        with self.world.together():
            if self.world.rank == 0:
                found = checkpoints.newest()
                if found is not None:
                    self._continue("", *found)
                elif (shared := checkpoints.inherited(siblings, self._reach())) is not None:
                    self._continue(*shared)
        position = torch.tensor(self.state.step)
        self.world.broadcast_(position)
        self.state.step = int(position)
        with torch.no_grad():
            for part in self.state.tensors().values():
                for tensor in part.values():
                    self.world.broadcast_(tensor)

    def _reach(self) -> int:
        """Checkpoints of other durations must lie before this step."""
        return min(self.config.common_steps + 1, self.config.steps)

    def _continue(self, run: str, checkpoint: Checkpoint, tensors: Tensors) -> None:
        """Take over a checkpoint. run: whose it is, empty for this run's own."""
        self.state.load(checkpoint.step, tensors, where=f"The checkpoint of stage {self.stage}")
        changed = differences(checkpoint.environment, self.environment)
        note = f"not bit-exact: {changed}" if changed else ""
        self.resumed_from = (*checkpoint.resumed_from, Resume(step=checkpoint.step, note=note, run=run))
        self.metrics = checkpoint.metrics
        _LOG.log(
            logging.WARNING if note else logging.INFO,
            "Stage %s resumes from %d images%s%s",
            self.stage,
            checkpoint.step * self.config.batch,
            f" of run {run[:12]}" if run else "",
            f", {note}" if note else "",
        )

    def step(self, stop: bool) -> _Step:
        """One global batch and one update. Raises on every rank before the update if anything went wrong on any."""
        step = self.state.step
        self.flat.clear()
        fault: Exception | None = None
        first: Batch = {}
        try:
            first = self._micro_batches(step)
        except Exception as error:
            fault = error
        self.flat.scalars[_FAILED], self.flat.scalars[_STOP] = float(fault is not None), float(stop)
        self.world.sum_(self.flat.buffer)
        norm = self.flat.norm()
        *scalars, norm_value = torch.cat([self.flat.scalars, norm[None]]).tolist()
        if scalars[_FAILED]:
            with self.world.together():
                if fault is not None:
                    raise fault
        values = dict(zip(self.terms, scalars[_FLAGS:], strict=True))
        self._require_finite({**values, "gradient norm": norm_value}, step)
        self.flat.clip_(norm, self.config.clip)
        rate = self.state.update()
        self.meter.count(self.config.batch)
        return _Step(metrics={**values, "grad_norm": norm_value, "lr": rate}, first=first, stop=scalars[_STOP] > 0)

    def _micro_batches(self, step: int) -> Batch:
        """Add this rank's gradients and scalars to the flat buffer; returns the first micro-batch."""
        first: Batch = {}
        begin = step * self.config.batch
        for part in self.parts:
            with self.meter.waiting():
                batch = self._to_device(self.source.batch(begin + part.start, begin + part.stop))
            # Means over parts of unequal size: weighted by size they add up to the mean over the global batch.
            share = len(part) / self.config.batch
            draws = Draws(seed=self.seed, stage=self.stage, step=step, first=part.start, seen=begin)
            seed_generator(self.world.device, draws.dropout_seed())
            with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                loss, terms = self.objective.loss(batch, draws)
            torch.autograd.backward(loss * share)
            scalars = torch.stack([loss.detach(), *(terms[name].detach() for name in self.objective.terms)])
            self.flat.scalars[_FLAGS:] += scalars.float() * share
            first = first or batch
        return first

    def _to_device(self, batch: Batch) -> Batch:
        """All but the positions, which seed draws on the CPU."""
        return {name: t if name == "position" else t.to(self.world.device) for name, t in batch.items()}

    def _require_finite(self, values: dict[str, float], step: int) -> None:
        wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise RunFailedError(
                f"Stage {self.stage}, step {step}: {', '.join(wrong)}; every loss term must be finite. The last "
                f"checkpoint is sound; lower lr (now {self.config.lr}) or use fp32 (now {self.config.precision})."
            )

    def report(self, step: _Step, tracker: Tracker) -> None:
        """Log metrics and an image where they are due, never twice for one step."""
        done, every = self.state.step, self.cadence
        due = done % every.log == 0 or done == self.config.steps
        preview = every.image > 0 and done % every.image == 0
        if not (due or preview):
            return
        with self.world.together():
            if self.world.rank == 0:
                if due:
                    exact = all(not one.note for one in self.resumed_from)
                    self.metrics = {**step.metrics, **self.meter.read(), "bit_exact": float(exact)}
                if done <= tracker.last_step():
                    return
                drawn = self.objective.preview(step.first) if preview else None
                if drawn is not None:
                    tracker.image(self.stage, done, drawn)
                if due:
                    tracker.metrics(done, self.metrics)

    def save(self, checkpoints: Checkpoints) -> None:
        """Rank 0 saves what every rank's batches are answered for; all fail if one cannot."""
        with self.world.together():
            self.source.verify()
        with self.world.together():
            if self.world.rank == 0:
                checkpoint = Checkpoint(
                    step=self.state.step,
                    environment=self.environment,
                    resumed_from=self.resumed_from,
                    metrics=self.metrics,
                    common=self.state.step <= self.config.common_steps,
                )
                checkpoints.save(checkpoint, self.state.tensors())

    def publish(self, checkpoints: Checkpoints) -> TrainResult | None:
        """Rank 0 stores the averaged weights as a blob; all fail if it cannot."""
        result = None
        with self.world.together():
            if self.world.rank == 0:
                ema = checkpoints.publish(self.state.tensors()["ema"])
                result = TrainResult(
                    steps=self.state.step,
                    images_seen=self.state.step * self.config.batch,
                    ema=ema,
                    digests=checkpoints.digests(),
                    metrics=self.metrics,
                    resumed_from=self.resumed_from,
                )
        return result
