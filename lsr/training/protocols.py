"""What the loop asks of the world around it: an objective, a source of lanes, a tracker."""

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
    """Every random choice of one lane, as pure functions of (seed, stage, purpose, index)."""

    seed: int
    stage: str
    step: int
    lane: int

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
        """Output scale uniform in [low, high): one a global batch, so equal on all lanes and ranks."""
        return low + (high - low) * uniform(derive_seed(self.seed, self.stage, "scale", self.step))

    def dropout_seed(self) -> int:
        """What torch's generator is seeded with before this lane's forward."""
        return derive_seed(self.seed, self.stage, "dropout", self.step, self.lane)


class Objective(Protocol):
    """What one stage trains. The loop only sees lanes, scalars and a picture."""

    @property
    def model(self) -> nn.Module:
        """The stage's product. Its parameters with requires_grad train, in float32; all of it is saved."""

    @property
    def terms(self) -> Sequence[str]:
        """Names of the scalars that `loss` reports, fixed for the run."""

    def to(self, device: torch.device) -> None:
        """Move every module, trained or frozen, to `device`."""

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss over the lane with its graph, and the scalars named by `terms`, each a mean over the lane."""

    def picture(self, batch: Batch) -> NDArray[np.uint8] | None:
        """A small picture for people, uint8 [H, W, 3]; None where there is nothing to see."""


class Source(Protocol):
    """Where batches come from."""

    def lane(self, step: int, lane: int) -> Batch:
        """Lane `lane` of global batch `step`: a pure function of both. "position" int64 [b] is always among it."""

    def settle(self) -> None:
        """Return when all that lanes were made of so far, those prepared ahead included, is known to be right; asked
        before anything is saved. Raises IntegrityError otherwise.
        """


class Tracker(Protocol):
    """Where metrics go; only rank 0 calls it. Steps count finished global batches."""

    def last_step(self) -> int:
        """The last step this run has metrics for, 0 if there are none: no step is logged twice."""

    def metrics(self, step: int, values: dict[str, float]) -> None: ...

    def image(self, name: str, step: int, array: NDArray[np.uint8]) -> None:
        """array: uint8 [H, W, 3]."""
