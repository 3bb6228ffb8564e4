"""Weights by timestep: what each does to the error of x0."""

from __future__ import annotations

import pytest
import torch

from lsr.diffusion.prediction import Kind, target, to_x0
from lsr.diffusion.schedule import Schedule
from lsr.diffusion.weighting import align_weight, min_snr, uniform

ABAR = Schedule("sqrt-linear", 1000, 1e-4, 0.015).alphas_cumprod


def test_uniform_is_one() -> None:
    assert torch.equal(uniform(ABAR), torch.ones_like(ABAR))


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_min_snr_weighs_the_error_of_x0_by_the_clipped_ratio(kind: Kind) -> None:
    """Whatever the network predicts, weight * |target - output|^2 = min(SNR, gamma) * |x0 - x0_hat|^2."""
    abar = ABAR[::37]
    x0, noise, error = torch.randn(3, len(abar), 2, 3, 3, dtype=torch.float64).unbind()
    shape = (-1, 1, 1, 1)
    x_t = abar.reshape(shape).sqrt() * x0 + (1 - abar).reshape(shape).sqrt() * noise
    output = target(kind, x0, noise, abar) + error
    weighted = min_snr(kind, abar, 5.0) * error.square().sum(dim=(1, 2, 3))
    on_x0 = (to_x0(kind, output, x_t, abar) - x0).square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(weighted, torch.minimum(abar / (1 - abar), torch.tensor(5.0)) * on_x0)


def test_the_alignment_weight_turns_latent_error_into_noise_error() -> None:
    """Eq 7-9 without a cap: abar / (1 - abar) * |z0 - z0_hat|^2 is exactly |eps - eps_hat|^2."""
    abar = ABAR[::37]
    z0, noise, output = torch.randn(3, len(abar), 2, 3, 3, dtype=torch.float64).unbind()
    shape = (-1, 1, 1, 1)
    z_t = abar.reshape(shape).sqrt() * z0 + (1 - abar).reshape(shape).sqrt() * noise
    on_z0 = (to_x0("eps", output, z_t, abar) - z0).square().sum(dim=(1, 2, 3))
    on_noise = (output - noise).square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(align_weight(abar, float("inf")) * on_z0, on_noise)


def test_the_alignment_weight_is_capped_from_above_only() -> None:
    weight = align_weight(ABAR, 5.0)
    assert weight.max() == 5.0
    assert torch.equal(weight[600:], (ABAR / (1 - ABAR))[600:])
