"""AdamW and its learning rate by step.

The update is written out here: constructing torch's own AdamW imports the compiler, seconds in every process of every
stage, and its moments appear only after the first step. A test holds the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lsr.training.config import TrainConfig

EPSILON = 1e-8


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of step `step` (from 0), by the images seen before it: linear warm-up, then as `config.schedule` says."""
    seen = step * config.batch
    if seen < config.warmup:
        return config.lr * min(1.0, (seen + config.batch) / config.warmup)
    if config.schedule == "wsd":
        left = config.images - seen
        return config.lr * min(1.0, left / config.cooldown)
    if config.schedule == "constant":
        return config.lr
    progress = (seen - config.warmup) / max(config.images - config.warmup, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class AdamW:
    """Adam with decoupled weight decay over named parameters.

    first, second: running means of the gradient and of its square, by name. updates: how many there were, int64.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: TrainConfig):
        self._parameters, self._config = dict(parameters), config
        self.first = {name: torch.zeros_like(p, requires_grad=False) for name, p in self._parameters.items()}
        self.second = {name: torch.zeros_like(p, requires_grad=False) for name, p in self._parameters.items()}
        self.updates = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update by the gradients in place at learning rate `rate`."""
        self.updates += 1
        count = int(self.updates)
        beta1, beta2 = self._config.betas
        values: list[Tensor] = list(self._parameters.values())
        gradients = [p.grad for p in values if p.grad is not None]
        first, second = list(self.first.values()), list(self.second.values())
        if self._config.weight_decay > 0:
            torch._foreach_mul_(values, 1 - rate * self._config.weight_decay)
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, math.sqrt(1 - beta2**count))
        torch._foreach_add_(scale, EPSILON)
        torch._foreach_addcdiv_(values, first, scale, -rate / (1 - beta1**count))

    def tensors(self) -> dict[str, Tensor]:
        """The live state by torch's names: `exp_avg.<parameter>`, `exp_avg_sq.<parameter>` and `step`."""
        moments = {"exp_avg": self.first, "exp_avg_sq": self.second}
        named = {f"{moment}.{name}": value for moment, of in moments.items() for name, value in of.items()}
        return {**named, "step": self.updates}
