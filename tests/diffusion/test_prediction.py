"""x0, noise and velocity are three spellings of one thing."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from lsr.diffusion.prediction import Kind, target, to_eps, to_x0

KINDS = get_args(Kind)
ABAR = torch.tensor([0.9999, 0.7, 0.3, 1e-3], dtype=torch.float64)


@pytest.fixture
def clean_and_noise() -> tuple[Tensor, Tensor, Tensor]:
    """x0, noise, x_t: four non-square samples, one a noise level."""
    x0, noise = torch.randn(2, 4, 3, 2, 5, dtype=torch.float64).unbind()
    abar = ABAR.reshape(-1, 1, 1, 1)
    return x0, noise, abar.sqrt() * x0 + (1 - abar).sqrt() * noise


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_network_gives_back_clean_sample_and_noise(
    kind: Kind, clean_and_noise: tuple[Tensor, Tensor, Tensor]
) -> None:
    x0, noise, x_t = clean_and_noise
    perfect = target(kind, x0, noise, ABAR)
    torch.testing.assert_close(to_x0(kind, perfect, x_t, ABAR), x0)
    torch.testing.assert_close(to_eps(kind, perfect, x_t, ABAR), noise)


@pytest.mark.parametrize("kind", KINDS)
def test_both_readings_of_any_output_rebuild_x_t(kind: Kind, clean_and_noise: tuple[Tensor, Tensor, Tensor]) -> None:
    """x_t = sqrt(abar) x0 + sqrt(1 - abar) eps holds for wrong outputs too, so samplers stay on the path."""
    _, _, x_t = clean_and_noise
    output = torch.randn_like(x_t)
    abar = ABAR.reshape(-1, 1, 1, 1)
    rebuilt = abar.sqrt() * to_x0(kind, output, x_t, ABAR) + (1 - abar).sqrt() * to_eps(kind, output, x_t, ABAR)
    torch.testing.assert_close(rebuilt, x_t)


def test_targets_by_definition(clean_and_noise: tuple[Tensor, Tensor, Tensor]) -> None:
    x0, noise, _ = clean_and_noise
    assert torch.equal(target("eps", x0, noise, ABAR), noise)
    assert torch.equal(target("x0", x0, noise, ABAR), x0)
    velocity = target("v", x0, noise, ABAR)
    for i, abar in enumerate(ABAR.tolist()):
        torch.testing.assert_close(velocity[i], abar**0.5 * noise[i] - (1 - abar) ** 0.5 * x0[i])


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_stays_single(kind: Kind) -> None:
    x = torch.randn(4, 3, 2, 5)
    assert to_x0(kind, x, x, ABAR).dtype == to_eps(kind, x, x, ABAR).dtype == torch.float32
