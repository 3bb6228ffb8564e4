"""What the network returns, and the exact conversions between x0, noise and velocity.

With a = sqrt(abar_t) and s = sqrt(1 - abar_t): x_t = a x0 + s eps and v = a eps - s x0. Every function takes abar_t as
float64 [B], one value a sample, and tensors [B, ...].
"""

from __future__ import annotations

from typing import Literal, assert_never

from torch import Tensor

Kind = Literal["eps", "x0", "v"]


def _signal_and_noise(abar: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    abar = abar.reshape(-1, *[1] * (like.ndim - 1))
    return abar.sqrt().to(like.dtype), (1 - abar).sqrt().to(like.dtype)


def to_x0(kind: Kind, output: Tensor, x_t: Tensor, abar: Tensor) -> Tensor:
    """The clean sample that the network's output implies: the one-step estimate of Eq 7-9 (method.md 2.3)."""
    a, s = _signal_and_noise(abar, x_t)
    match kind:
        case "eps":
            return (x_t - s * output) / a
        case "x0":
            return output
        case "v":
            return a * x_t - s * output
    assert_never(kind)


def to_eps(kind: Kind, output: Tensor, x_t: Tensor, abar: Tensor) -> Tensor:
    """The noise that the network's output implies."""
    a, s = _signal_and_noise(abar, x_t)
    match kind:
        case "eps":
            return output
        case "x0":
            return (x_t - a * output) / s
        case "v":
            return s * x_t + a * output
    assert_never(kind)


def target(kind: Kind, x0: Tensor, noise: Tensor, abar: Tensor) -> Tensor:
    """What the network should return for this clean sample and noise."""
    a, s = _signal_and_noise(abar, x0)
    match kind:
        case "eps":
            return noise
        case "x0":
            return x0
        case "v":
            return a * noise - s * x0
    assert_never(kind)
