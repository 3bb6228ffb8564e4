"""What the loop asks of the world around it: an objective, a source of batches, a tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.core.errors import TrainingStoppedError as TrainingStoppedError
from lsr.core.randomness import derive_seed
from lsr.nn.random import normal, uniform

Batch = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """Every random choice of one micro-batch, as pure functions of (seed, stage, purpose, index): of a sample's
    position, or of the global batch. None but dropout depends on how a batch is cut.

    step: number of the global batch. first: place (0 .. batch - 1) in it of the micro-batch's first sample. seen:
    images seen before the global batch, for what a loss does from some moment of the training on.
    """

    seed: int
    stage: str
    step: int
    first: int
    seen: int = 0

    def noise(self, position: Tensor, like: Tensor, purpose: str = "noise") -> Tensor:
        """Standard normal noise of the shape, type and device of `like` [b, ...], by sample position [b]."""
        seeds = [derive_seed(self.seed, self.stage, purpose, p) for p in position.tolist()]
        return normal(seeds, like.shape[1:], like.device).to(like.dtype)

    def timesteps(self, position: Tensor, total: int) -> Tensor:
        """Timesteps uniform in 0..total-1, int64 [b] on the device of `position`, by sample position."""
        draws = (uniform(derive_seed(self.seed, self.stage, "timestep", p)) for p in position.tolist())
        return torch.tensor([int(u * total) for u in draws], device=position.device)

    def chance(self, position: Tensor, share: float) -> Tensor:
        """True with probability `share`, bool [b] on the device of `position`, by sample position."""
        draws = (uniform(derive_seed(self.seed, self.stage, "chance", p)) for p in position.tolist())
        return torch.tensor([u < share for u in draws], device=position.device)

    def scale(self, low: float, high: float) -> float:
        """Output scale uniform in [low, high): one per global batch."""
        return low + (high - low) * uniform(derive_seed(self.seed, self.stage, "scale", self.step))

    def dropout_seed(self) -> int:
        """What torch's generator is seeded with before this micro-batch's forward. The masks of its samples come from
        one generator, so that they, alone of all draws, change with the world size and the micro-batch.
        """
        return derive_seed(self.seed, self.stage, "dropout", self.step, self.first)


class Objective(Protocol):
    """What one stage trains. The loop only sees batches, scalars and an image."""

    @property
    def model(self) -> nn.Module:
        """The stage's product. Its parameters with requires_grad train, in float32; all of it is saved."""

    @property
    def terms(self) -> Sequence[str]:
        """Names of the scalars that `loss` reports, fixed for the run."""

    def to(self, device: torch.device) -> None:
        """Move every module, trained or frozen, to `device`."""

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss over the batch's samples with its graph, and the scalars named by `terms`, each such a mean."""

    def preview(self, batch: Batch) -> NDArray[np.uint8] | None:
        """A small image for people, uint8 [H, W, 3]; None where there is nothing to see."""


class Source(Protocol):
    """Where batches come from."""

    def batch(self, start: int, stop: int) -> Batch:
        """The samples at positions start .. stop - 1 of the order, each a pure function of its position. "position"
        int64 [stop - start] is always among it.
        """

    def verify(self) -> None:
        """Return when all that batches were made of so far, those prepared ahead included, is known to be right; asked
        before anything is saved. Raises IntegrityError otherwise.
        """

    def close(self) -> None:
        """Let go of threads and files; the source cannot be used again."""


class Tracker(Protocol):
    """Where metrics go; only rank 0 calls it. Steps count finished global batches."""

    def last_step(self) -> int:
        """The last step this run has metrics for, 0 if there are none: no step is logged twice."""

    def metrics(self, step: int, values: dict[str, float]) -> None: ...

    def image(self, name: str, step: int, array: NDArray[np.uint8]) -> None:
        """array: uint8 [H, W, 3]."""
