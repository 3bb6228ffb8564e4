"""Everything that changes while a run trains: weights, EMA, optimiser, position."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lsr.core.errors import IntegrityError
from lsr.training.config import TrainConfig
from lsr.training.ema import Ema
from lsr.training.optimiser import AdamW, learning_rate

PARTS = ("weights", "ema", "optimiser")


class TrainState:
    """The state of a run after `step` global batches. Only parameters with requires_grad change."""

    def __init__(self, model: nn.Module, config: TrainConfig):
        self.model = model
        self.step = 0
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.ema = Ema(self.trainable, config.ema)
        self.optimiser = AdamW(self.trainable, config)
        self._config = config

    def update(self) -> float:
        """One optimiser and EMA update from the gradients in place; returns the learning rate."""
        rate = learning_rate(self._config, self.step)
        self.optimiser.step(rate)
        self.ema.update(self.trainable, self.step)
        self.step += 1
        return rate

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The live tensors by part (PARTS) and name. `ema` is the whole product: what does not train is as it is."""
        weights = self.model.state_dict()
        return {
            "weights": weights,
            "ema": {name: self.ema.values.get(name, value) for name, value in weights.items()},
            "optimiser": self.optimiser.tensors(),
        }

    @torch.no_grad()
    def load(self, step: int, saved: Mapping[str, Mapping[str, Tensor]], where: str) -> None:
        """Copy `saved`, as `tensors` gave it. Raises IntegrityError naming `where` if names or shapes differ."""
        live = self.tensors()
        for part in PARTS:
            shapes = [{n: tuple(t.shape) for n, t in tensors.items()} for tensors in (live[part], saved[part])]
            if shapes[0] != shapes[1]:
                odd = sorted(name for name, _ in set(shapes[0].items()) ^ set(shapes[1].items()))
                raise IntegrityError(
                    f"{where}: its {part} do not fit this model, they differ in {', '.join(odd[:5])}; "
                    "delete the checkpoint to start again."
                )
        for part in PARTS:
            for name, tensor in live[part].items():
                tensor.copy_(saved[part][name])
        self.step = step
