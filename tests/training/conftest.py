"""A store and a way to train in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lsr.store import Store, open_store
from lsr.training.checkpoints import Checkpoints
from lsr.training.config import Cadence, TrainConfig
from lsr.training.loop import TrainResult, train
from lsr.training.protocols import Objective
from tests.training.kit import ALONE, RecordingTracker, Regression, VectorSource


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def fit(store: Store) -> Callable[..., TrainResult]:
    """Train alone in this process: 40 steps of 8 images in micro-batches of 2. Keywords replace what is given here."""

    def run(objective: Objective | None = None, key: str = "run", fencing: int = 1, **changes: Any) -> TrainResult:
        config = changes.pop("config", TrainConfig(images=320, batch=8))
        cadence = changes.pop("cadence", Cadence(log=5, checkpoint=10))
        options: dict[str, Any] = {
            "micro_batch": 2,
            "seed": 7,
            "stage": "test",
            "world": ALONE,
            "checkpoints": Checkpoints(store, key, fencing),
            "tracker": RecordingTracker(),
        }
        source = changes.pop("source", VectorSource())
        result = train(objective or Regression(), source, config, cadence, **{**options, **changes})
        assert result is not None
        return result

    return run
