"""The forward process: how much signal and how much noise a timestep holds."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lsr.core.errors import ConfigError

Kind = Literal["sqrt-linear", "linear", "cosine"]


def betas(kind: Kind, steps: int, start: float, end: float) -> Tensor:
    """Noise variances beta_0..beta_{T-1}, float64 [T].

    `sqrt-linear`: linear in sqrt(beta) (LDM's "linear"). `linear`: DDPM's. `cosine`: Nichol & Dhariwal with offset
    0.008 and betas of at most 0.999; start and end are not used there. Raises ConfigError for another kind.
    """
    # The device is named because models are built under torch.device("meta"), where the schedule must stay real.
    if kind == "sqrt-linear":
        return torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64, device="cpu") ** 2
    if kind == "linear":
        return torch.linspace(start, end, steps, dtype=torch.float64, device="cpu")
    if kind == "cosine":
        time = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
        signal = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)
    raise ConfigError(f"schedule must be sqrt-linear, linear or cosine, found {kind!r}.")


def zero_terminal(alphas_cumprod: Tensor) -> Tensor:
    """abar [T] rescaled so that the last is 0 and the first stays (Lin et al. 2024, Algorithm 1).

    sqrt(abar_t) becomes (sqrt(abar_t) - sqrt(abar_T)) * sqrt(abar_1) / (sqrt(abar_1) - sqrt(abar_T)).
    """
    signal = alphas_cumprod.sqrt()
    first, last = signal[0], signal[-1]
    return ((signal - last) * (first / (first - last))).square()


class Schedule:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, for t = 0 (least noise) .. T-1 (most).

    to_zero: rescale by `zero_terminal`. alphas_cumprod: abar, float64 [T]. Not a module: the schedule follows from the
    config, so it is never saved, never rounded to half precision; `abar` moves it to the device of t once.
    """

    def __init__(self, kind: Kind, steps: int, beta_start: float, beta_end: float, *, to_zero: bool = False):
        alphas_cumprod = torch.cumprod(1 - betas(kind, steps, beta_start, beta_end), dim=0)
        self.alphas_cumprod = zero_terminal(alphas_cumprod) if to_zero else alphas_cumprod
        self._by_device = {torch.device("cpu"): self.alphas_cumprod}

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio abar / (1 - abar), float64 [T], falling with t."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    def abar(self, t: Tensor) -> Tensor:
        """abar of each sample's timestep: t int64 [B] -> float64 [B] on t's device."""
        if t.device not in self._by_device:
            self._by_device[t.device] = self.alphas_cumprod.to(t.device)
        return self._by_device[t.device][t]

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of the forward process; x0 and noise [B, ...], t int64 [B]."""
        abar = self.abar(t).reshape(-1, *[1] * (x0.ndim - 1))
        return abar.sqrt().to(x0.dtype) * x0 + (1 - abar).sqrt().to(x0.dtype) * noise
