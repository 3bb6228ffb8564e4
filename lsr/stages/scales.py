"""The histogram of a training run's random output scales, in numbers and as an image, for its MLflow run."""

from __future__ import annotations

import json

import numpy as np

from lsr.engine.request import Request
from lsr.registry.tracking import MlflowTracker
from lsr.report.sheet import histogram
from lsr.training.protocols import Draws

BINS = 20


def drawn_scales(request: Request, steps: int, limits: tuple[float, float]) -> list[float]:
    """The scale of every step. A draw is a pure function of its step, so killed attempts leave no gap and no double."""
    return [Draws(seed=request.seed, stage=request.stage, step=step, first=0).scale(*limits) for step in range(steps)]


def log_scales(tracker: MlflowTracker, request: Request, steps: int, limits: tuple[float, float]) -> None:
    """Keep `scales.json` (counts, edges) and its image."""
    counts, edges = np.histogram(drawn_scales(request, steps, limits), bins=BINS, range=limits)
    tracker.text("scales.json", json.dumps({"counts": counts.tolist(), "edges": edges.tolist()}))
    tracker.image("scales", steps, histogram(counts.tolist(), edges.tolist(), "output side / tile side"))
