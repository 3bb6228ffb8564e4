"""Objectives from outside the repository: a function of yours takes a stage's objective and returns what to train with.

    class Edges(Extended):
        own_terms = ("edges",)

        def loss(self, batch, draws):
            loss, terms = self.standard.loss(batch, draws)
            edges = ...
            return loss + 0.1 * edges, {**terms, "edges": edges}

`train.objective = "my_package.losses:Edges"` in a recipe names it. It must be importable where the stage runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.core.errors import ConfigError
from lsr.training.protocols import Batch, Draws, Objective

_NEEDED = ("model", "terms", "to", "loss", "preview")


class Extended:
    """An objective that does what `standard` does; override `loss`, and name the scalars you add in `own_terms`."""

    own_terms: Sequence[str] = ()

    def __init__(self, standard: Objective):
        self.standard = standard

    @property
    def model(self) -> nn.Module:
        return self.standard.model

    @property
    def terms(self) -> Sequence[str]:
        return (*self.standard.terms, *self.own_terms)

    def to(self, device: torch.device) -> None:
        self.standard.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        return self.standard.loss(batch, draws)

    def preview(self, batch: Batch) -> NDArray[np.uint8] | None:
        return self.standard.preview(batch)


def with_own(standard: Objective, name: str | None) -> Objective:
    """What `name` (`package.module:callable`) makes of a stage's objective; `standard` itself for None.

    Raises ConfigError when it cannot be imported or what it returns is no objective.
    """
    if name is None:
        return standard
    module, _, attribute = name.partition(":")
    try:
        make = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"train.objective {name} cannot be imported here: {error}. Install its package where the stage runs, or "
            "put its folder on PYTHONPATH."
        ) from error
    made: Objective = make(standard)
    lacking = [part for part in _NEEDED if not hasattr(made, part)]
    if lacking:
        raise ConfigError(
            f"train.objective {name} returned a {type(made).__name__} without {', '.join(lacking)}; "
            "derive it from lsr.training.own.Extended."
        )
    return made
