"""The exponential moving average of the trained weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def decay_at(limit: float, updates: int) -> float:
    """Decay of update number `updates` (from 0): min(limit, (1 + n) / (10 + n)), to forget the start sooner."""
    return min(limit, (1 + updates) / (10 + updates))


class Ema:
    """average <- d * average + (1 - d) * value, for named float tensors; starts at their present values."""

    def __init__(self, values: Mapping[str, Tensor], limit: float):
        self.values = {name: value.detach().clone() for name, value in values.items()}
        self._limit = limit

    def update(self, values: Mapping[str, Tensor], updates: int) -> None:
        """Move towards `values` (the same names); `updates` is how many updates came before."""
        targets = [values[name].detach() for name in self.values]
        torch._foreach_lerp_(list(self.values.values()), targets, 1 - decay_at(self._limit, updates))
