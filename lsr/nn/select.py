"""Selecting rows by integer index with a backward that is deterministic on every device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Select(torch.autograd.Function):
    """index_select forward; backward adds gradients by a 0/1 matrix product, where torch's CUDA kernel uses atomics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.dim, ctx.shape = dim, x.shape
        return x.index_select(dim, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        count = ctx.shape[ctx.dim]
        belongs = torch.arange(count, device=index.device)[:, None] == index
        lead = ctx.shape[: ctx.dim].numel()
        summed = belongs.to(grad.dtype) @ grad.reshape(lead, len(index), -1)
        return summed.reshape(ctx.shape), None, None


def select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """x[..., index, ...] along `dim` (not negative): index int64 [n] -> that axis becomes n long; repeats allowed."""
    out: Tensor = _Select.apply(x, dim, index)  # type: ignore[no-untyped-call]
    return out
