"""Residual shifting against its formulas written out in float64, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lsr.core.errors import InputError
from lsr.diffusion.schedule import Schedule
from lsr.diffusion.shift import add_noise_shifted, sample_shifted, share_of_condition

STEPS, START, END = 8, 0.0005, 0.004


def schedule() -> Schedule:
    return Schedule("linear", STEPS, START, END)


def abars() -> list[float]:
    out, product = [], 1.0
    for i in range(STEPS):
        product *= 1 - (START + (END - START) * i / (STEPS - 1))
        out.append(product)
    return out


def test_the_mean_moves_from_the_image_to_the_condition() -> None:
    x0, cond, noise = (torch.randn(1, 2, 3, 3, dtype=torch.float64) for _ in range(3))
    for t, abar in enumerate(abars()):
        share = (1 - abar) / (1 - abars()[-1])
        wanted = math.sqrt(abar) * (x0 + share * (cond - x0)) + math.sqrt(1 - abar) * noise
        torch.testing.assert_close(add_noise_shifted(schedule(), x0, cond, noise, torch.tensor([t])), wanted)
    assert share_of_condition(schedule(), torch.tensor([STEPS - 1])).item() == 1


def test_one_call_starts_at_the_noised_condition() -> None:
    cond, noise = (torch.randn(2, 2, 3, 3, dtype=torch.float64) for _ in range(2))
    seen = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t.tolist()))
        return x * 0 + 7

    assert (sample_shifted(denoise, schedule(), noise, cond, 1) == 7).all()
    ((x, t),) = seen
    assert t == [STEPS - 1] * 2
    torch.testing.assert_close(x, math.sqrt(abars()[-1]) * cond + math.sqrt(1 - abars()[-1]) * noise)


@pytest.mark.parametrize("steps", [2, 3, 8])
def test_with_a_denoiser_that_knows_the_image_every_x_t_is_the_forward_process_s(steps: int) -> None:
    x0, cond, noise = (torch.randn(1, 2, 3, 3, dtype=torch.float64) for _ in range(3))

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        torch.testing.assert_close(x, add_noise_shifted(schedule(), x0, cond, noise, t), atol=1e-9, rtol=0)
        return x0

    torch.testing.assert_close(sample_shifted(denoise, schedule(), noise, cond, steps), x0)


def test_more_steps_than_levels_are_rejected() -> None:
    with pytest.raises(InputError, match="between 1 and"):
        sample_shifted(lambda x, t: x, schedule(), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 9)
