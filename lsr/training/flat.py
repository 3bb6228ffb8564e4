"""One flat buffer for everything that is summed over ranks in a step.

DistributedDataParallel regroups its buckets after the first step, which changes the order of sums and with it the
last bits of a resumed run; here the layout is fixed by the order of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lsr.core.errors import ConfigError


class FlatGradients:
    """Float32 [parameters..., scalars...]. Each parameter's `.grad` is a view of it, so `backward` adds up in place.

    gradients: the parameters' part. scalars: a few numbers that travel with them, one all_reduce for both.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], scalars: int, device: torch.device):
        wrong = sorted({str(p.dtype) for p in parameters} - {"torch.float32"})
        if wrong or not parameters:
            found = f"parameters of type {', '.join(wrong)}" if wrong else "no parameter with requires_grad"
            raise ConfigError(f"Training needs float32 parameters, found {found}; use precision for half precision.")
        sizes = [p.numel() for p in parameters]
        self.buffer = torch.zeros(sum(sizes) + scalars, device=device)
        self.gradients = self.buffer[: sum(sizes)]
        self.scalars = self.buffer[sum(sizes) :]
        for parameter, part in zip(parameters, torch.split(self.gradients, sizes), strict=True):
            parameter.grad = part.view_as(parameter)

    def clear(self) -> None:
        """Zero gradients and scalars."""
        self.buffer.zero_()

    def norm(self) -> Tensor:
        """Euclidean norm of all gradients, a scalar."""
        norm: Tensor = torch.linalg.vector_norm(self.gradients)
        return norm

    def clip_(self, norm: Tensor, limit: float) -> None:
        """Shrink gradients of this `norm` to `limit` where it is larger; limit 0 changes nothing."""
        if limit > 0:
            self.gradients.mul_(limit / norm.clamp(min=limit))
