"""Loss weights by timestep. abar is float64 [B]; so are the weights."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from lsr.diffusion.prediction import Kind


def uniform(abar: Tensor) -> Tensor:
    """One for every timestep (Eq 4)."""
    return torch.ones_like(abar)


def min_snr(kind: Kind, abar: Tensor, gamma: float = 5.0) -> Tensor:
    """Min-SNR-gamma: the weight of the squared error of a `kind` prediction that amounts to min(SNR, gamma) on x0."""
    snr = abar / (1 - abar)
    clipped = snr.clamp(max=gamma)
    match kind:
        case "eps":
            return clipped / snr
        case "x0":
            return clipped
        case "v":
            return clipped / (snr + 1)
    assert_never(kind)


def align_weight(abar: Tensor, cap: float | None) -> Tensor:
    """The alignment loss' weight abar / (1 - abar) (Eq 7-9), at most `cap`; None as published, up to 1e4 at t = 0."""
    weight = abar / (1 - abar)
    return weight if cap is None else weight.clamp(max=cap)
