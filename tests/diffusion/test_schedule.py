"""The forward process against formulas written out in plain Python floats."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from lsr.core.config import check
from lsr.core.errors import ConfigError
from lsr.diffusion.prediction import Kind as Prediction
from lsr.diffusion.prediction import target, to_eps, to_x0
from lsr.diffusion.schedule import Kind, Schedule, betas
from lsr.diffusion.weighting import align_weight, min_snr
from lsr.models.config import DiffusionConfig

FFHQ = Schedule("sqrt-linear", 1000, 1e-4, 0.015)
DIV2K = Schedule("sqrt-linear", 1000, 0.0015, 0.0155)


def _abar(each_beta: list[float]) -> list[float]:
    out, product = [], 1.0
    for beta in each_beta:
        product *= 1 - beta
        out.append(product)
    return out


def test_sqrt_linear_is_linear_in_the_square_root_of_beta() -> None:
    low, high = math.sqrt(0.0015), math.sqrt(0.0155)
    expected = _abar([(low + (high - low) * t / 999) ** 2 for t in range(1000)])
    torch.testing.assert_close(DIV2K.alphas_cumprod, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_linear_is_linear_in_beta() -> None:
    expected = _abar([1e-4 + (0.02 - 1e-4) * t / 99 for t in range(100)])
    actual = Schedule("linear", 100, 1e-4, 0.02).alphas_cumprod
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_cosine_follows_its_signal_until_the_betas_are_clipped() -> None:
    schedule = Schedule("cosine", 200, 1e-4, 0.02)

    def signal(t: int) -> float:
        return math.cos((t / 200 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = torch.tensor([signal(t + 1) / signal(0) for t in range(199)], dtype=torch.float64)
    torch.testing.assert_close(schedule.alphas_cumprod[:199], expected)
    assert betas("cosine", 200, 0, 0).max() == 0.999
    assert schedule.alphas_cumprod[-1] > 0


@pytest.mark.parametrize("kind", ["sqrt-linear", "linear", "cosine"])
def test_signal_only_falls_and_never_ends(kind: Kind) -> None:
    schedule = Schedule(kind, 1000, 0.0015, 0.0155)
    assert schedule.steps == 1000
    assert schedule.alphas_cumprod.dtype == torch.float64
    assert bool((schedule.snr.diff() < 0).all())
    assert 0 < schedule.alphas_cumprod[-1] < schedule.alphas_cumprod[0] < 1


def test_the_published_signal_to_noise_ratios() -> None:
    """method.md 2.3: abar / (1 - abar) of the two published schedules, to the printed digits."""
    at = [0, 1, 10, 50, 100, 250, 500, 750, 999]
    printed_ffhq = [9999, 4943, 813, 117, 38, 5.7, 0.73, 0.089, 0.004]
    printed_div2k = [666, 332, 59, 11, 4.8, 1.15, 0.18, 0.018, 0.0007]
    for schedule, printed in ((FFHQ, printed_ffhq), (DIV2K, printed_div2k)):
        for t, value in zip(at, printed):
            digits = len(str(value).replace(".", "").lstrip("0"))
            assert float(f"{float(schedule.snr[t]):.{digits}g}") == pytest.approx(value, rel=1e-9), t


def test_near_clean_steps_hold_most_of_the_weight() -> None:
    """method.md 2.3: 61 % / 51 % of it lies on t < 10, 94 % / 86 % on t < 100; the reason for a cap."""
    for schedule, below_10, below_100 in ((FFHQ, 0.61, 0.94), (DIV2K, 0.51, 0.86)):
        share = schedule.snr.cumsum(0) / schedule.snr.sum()
        assert float(share[9]) == pytest.approx(below_10, abs=0.005)
        assert float(share[99]) == pytest.approx(below_100, abs=0.005)


def test_noise_is_added_to_each_sample_at_its_own_timestep() -> None:
    x0, noise = torch.randn(3, 2, 4, 5, dtype=torch.float64), torch.randn(3, 2, 4, 5, dtype=torch.float64)
    t = torch.tensor([0, 500, 999])
    x_t = FFHQ.add_noise(x0, noise, t)
    for i in range(3):
        abar = float(FFHQ.alphas_cumprod[t[i]])
        torch.testing.assert_close(x_t[i], math.sqrt(abar) * x0[i] + math.sqrt(1 - abar) * noise[i])
    assert FFHQ.add_noise(x0.float(), noise.float(), t).dtype == torch.float32


def test_a_schedule_stays_real_under_the_meta_device() -> None:
    """Models are loaded by building them without memory; their schedule must come out usable."""
    with torch.device("meta"):
        schedule = Schedule("cosine", 10, 1e-4, 0.02)
    assert 0 < float(schedule.abar(torch.tensor([9]))) < 1


@pytest.mark.parametrize("kind", ["sqrt-linear", "linear", "cosine"])
def test_zero_terminal_is_algorithm_1(kind: Kind) -> None:
    """Lin et al. 2024 in plain floats, back through betas as they write it: abar_T = 0, abar_1 and all else shifted."""
    plain = [math.sqrt(float(a)) for a in Schedule(kind, 100, 1e-3, 0.02).alphas_cumprod]
    signal = [(a - plain[-1]) * plain[0] / (plain[0] - plain[-1]) for a in plain]
    alphas = [signal[0] ** 2, *(b**2 / a**2 for a, b in pairwise(signal))]
    expected = torch.tensor(_abar([1 - alpha for alpha in alphas]), dtype=torch.float64)
    found = Schedule(kind, 100, 1e-3, 0.02, to_zero=True)
    torch.testing.assert_close(found.alphas_cumprod, expected, rtol=1e-9, atol=1e-12)
    assert float(found.alphas_cumprod[-1]) == 0
    assert float(found.alphas_cumprod[0]) == pytest.approx(plain[0] ** 2, rel=1e-12)
    assert bool((found.alphas_cumprod.diff() < 0).all())


def test_zero_terminal_rejects_noise_prediction() -> None:
    check(DiffusionConfig(prediction="v", zero_terminal=True))
    with pytest.raises(ConfigError, match="zero_terminal needs prediction x0 or v"):
        check(DiffusionConfig(zero_terminal=True))


@pytest.mark.parametrize("kind", ["x0", "v"])
def test_predictions_and_weights_are_finite_without_signal(kind: Prediction) -> None:
    abar = torch.zeros(2, dtype=torch.float64)
    x0, noise = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    output = target(kind, x0, noise, abar)
    torch.testing.assert_close(to_x0(kind, output, noise, abar), x0)
    torch.testing.assert_close(to_eps(kind, output, noise, abar), noise)
    assert torch.equal(min_snr(kind, abar), torch.zeros(2, dtype=torch.float64))
    assert torch.equal(align_weight(abar, None), torch.zeros(2, dtype=torch.float64))


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(ConfigError, match="sigmoid"):
        Schedule("sigmoid", 10, 1e-4, 0.02)  # type: ignore[arg-type]
