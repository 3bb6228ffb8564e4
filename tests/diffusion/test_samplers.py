"""Samplers against exact answers: an oracle, a Gaussian whose posterior is known, and DDPM's posterior formula."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lsr.core.config import from_plain
from lsr.core.errors import ConfigError, InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig, SamplerName
from lsr.diffusion.prediction import Kind, target, to_eps, to_x0
from lsr.diffusion.samplers import Denoiser, ancestral, ddim, dpm_solver, sample, steps_for
from lsr.diffusion.schedule import Schedule
from lsr.nn.random import normal

SCHEDULE = Schedule("sqrt-linear", 1000, 0.0015, 0.0195)
MEAN, STD = 0.7, 0.4


def _gaussian(x_t: Tensor, t: Tensor) -> Tensor:
    """E[x0 | x_t] for x0 ~ N(MEAN, STD^2), exactly."""
    abar = SCHEDULE.abar(t).reshape(-1, *[1] * (x_t.ndim - 1))
    variance = abar * STD**2 + 1 - abar
    return MEAN + abar.sqrt() * STD**2 / variance * (x_t - abar.sqrt() * MEAN)


@given(st.integers(1, 2000), st.data())
def test_steps_fall_from_the_noisiest_timestep_without_repeats(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total))
    steps = steps_for(total, count)
    assert steps[0] == total - 1
    assert len(steps) == count
    assert all(a > b for a, b in pairwise(steps))
    assert steps[-1] >= 0
    assert steps_for(total, total) == list(range(total - 1, -1, -1))


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_impossible_step_counts_are_rejected(count: int) -> None:
    with pytest.raises(InputError, match=str(count)):
        steps_for(1000, count)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_an_oracle_returns_its_x0_on_non_square_images(eta: float, steps: int) -> None:
    x0 = torch.randn(2, 3, 4, 9)
    seen: list[int] = []

    def oracle(x_t: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (2,)
        assert t.dtype == torch.int64
        seen.append(int(t[0]))
        return x0

    out = ddim(oracle, SCHEDULE, torch.randn(2, 3, 4, 9), steps, eta, seeds=[1, 2])
    assert torch.equal(out, x0)
    assert seen == steps_for(1000, steps)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_an_exact_denoiser_reaches_the_distribution(eta: float) -> None:
    """Over all steps the samples have the data's mean and standard deviation, whatever eta."""
    noise = normal([1, 2], (20_000,)).double()
    out = ddim(_gaussian, SCHEDULE, noise, 1000, eta, seeds=[3, 4])
    assert float(out.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(out.std()) == pytest.approx(STD, rel=0.02)


def test_deterministic_sampling_is_the_probability_flow() -> None:
    """With a Gaussian the flow is affine: x0 = MEAN + STD / sqrt(var_T) * (x_T - sqrt(abar_T) MEAN).

    1000 finite steps and the last estimate at t = 0 leave 0.5 % of the span.
    """
    noise = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    abar = float(SCHEDULE.alphas_cumprod[-1])
    exact = MEAN + STD / math.sqrt(abar * STD**2 + 1 - abar) * (noise - math.sqrt(abar) * MEAN)
    torch.testing.assert_close(ddim(_gaussian, SCHEDULE, noise, 1000), exact, atol=0.012, rtol=0)


def _ddpm_reference(denoise: Denoiser, noise: Tensor, steps: int, seeds: list[int]) -> Tensor:
    """Ho et al. Eq 6-7 on a sub-sequence of timesteps: mean and variance of q(x_prev | x_t, x0)."""
    timesteps = steps_for(1000, steps)
    x = noise
    for i, t in enumerate(timesteps):
        x0 = denoise(x, torch.full((len(x),), t))
        abar = float(SCHEDULE.alphas_cumprod[t])
        if i + 1 == len(timesteps):
            return x0
        before = float(SCHEDULE.alphas_cumprod[timesteps[i + 1]])
        beta = 1 - abar / before
        mean = math.sqrt(before) * beta / (1 - abar) * x0 + math.sqrt(1 - beta) * (1 - before) / (1 - abar) * x
        draw = normal([derive_seed(seed, "sampler", i) for seed in seeds], x.shape[1:])
        x = mean + math.sqrt(beta * (1 - before) / (1 - abar)) * draw
    raise AssertionError


@pytest.mark.parametrize("steps", [10, 100])
def test_ancestral_sampling_is_ddpms_posterior(steps: int) -> None:
    noise = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    expected = _ddpm_reference(_gaussian, noise, steps, [7, 8, 9])
    torch.testing.assert_close(ancestral(_gaussian, SCHEDULE, noise, [7, 8, 9], steps), expected)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    noise = normal([1, 2, 3], (2, 4, 6))
    together = ddim(_gaussian, SCHEDULE, noise, 20, 1.0, seeds=[1, 2, 3])
    for i in range(3):
        alone = ddim(_gaussian, SCHEDULE, noise[i : i + 1], 20, 1.0, seeds=[i + 1])
        assert torch.equal(alone[0], together[i])


def test_seeds_matter_only_above_eta_zero() -> None:
    noise = torch.randn(1, 8)
    assert torch.equal(ddim(_gaussian, SCHEDULE, noise, 9, 0.0, [1]), ddim(_gaussian, SCHEDULE, noise, 9))
    assert not torch.equal(ddim(_gaussian, SCHEDULE, noise, 9, 1.0, [1]), ddim(_gaussian, SCHEDULE, noise, 9, 1.0, [2]))


@pytest.mark.parametrize(("eta", "seeds"), [(1.5, [1]), (-0.1, [1]), (0.5, None), (0.5, [1, 2])])
def test_impossible_requests_are_rejected(eta: float, seeds: list[int] | None) -> None:
    with pytest.raises(InputError, match="eta"):
        ddim(_gaussian, SCHEDULE, torch.randn(1, 4), 5, eta, seeds)


class _EvenLambda:
    """A schedule whose log(alpha / sigma) falls evenly from 3 to -3, so that the order of a solver shows."""

    steps = 1000
    alphas_cumprod = torch.sigmoid(2 * torch.linspace(3, -3, 1000, dtype=torch.float64))


def _posterior(abar: float, x: Tensor) -> Tensor:
    """E[x0 | x] for x0 ~ N(MEAN, STD^2)."""
    return MEAN + math.sqrt(abar) * STD**2 / (abar * STD**2 + 1 - abar) * (x - math.sqrt(abar) * MEAN)


def _flow_error(sampler: SamplerName, noise: Tensor, steps: int) -> float:
    """Largest error of `steps` steps against the exact flow to the last of their timesteps and the estimate there."""
    levels = _EvenLambda.alphas_cumprod
    low, high = float(levels[-1]), float(levels[steps_for(1000, steps)[-1]])
    ratio = math.sqrt((high * STD**2 + 1 - high) / (low * STD**2 + 1 - low))
    there = math.sqrt(high) * MEAN + ratio * (noise - math.sqrt(low) * MEAN)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return _posterior(float(levels[t[0]]), x)

    config = SamplerConfig(name=sampler, steps=steps)
    out = sample(config, denoise, _EvenLambda(), noise)  # type: ignore[arg-type]
    return float((out - _posterior(high, there)).abs().max())


@pytest.mark.parametrize("steps", [1, 2])
def test_without_history_the_solver_is_ddim(steps: int) -> None:
    noise = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(dpm_solver(_gaussian, SCHEDULE, noise, steps), ddim(_gaussian, SCHEDULE, noise, steps))


def test_the_solver_is_of_second_order_and_ddim_of_first() -> None:
    """Twice the steps: DDIM's error halves, the solver's falls to a quarter."""
    noise = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    first = [_flow_error("ddim", noise, steps) for steps in (25, 50, 100)]
    second = [_flow_error("dpm++", noise, steps) for steps in (25, 50, 100)]
    assert all(1.7 < a / b < 2.4 for a, b in pairwise(first))
    assert all(3.2 < a / b < 5 for a, b in pairwise(second))
    assert second[0] < first[0] / 4


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_the_solver_asks_once_a_step_and_returns_an_oracles_x0(steps: int) -> None:
    x0, seen = torch.randn(2, 3, 4, 9), []

    def oracle(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return x0

    assert torch.equal(sample(SamplerConfig(name="dpm++", steps=steps), oracle, SCHEDULE, torch.randn(2, 3, 4, 9)), x0)
    assert seen == steps_for(1000, steps)


def test_heun_is_of_second_order_and_euler_of_first() -> None:
    noise = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    first = [_flow_error("euler", noise, steps) for steps in (25, 50, 100)]
    second = [_flow_error("heun", noise, steps) for steps in (25, 50, 100)]
    assert all(1.7 < a / b < 2.4 for a, b in pairwise(first))
    assert all(3.2 < a / b < 5 for a, b in pairwise(second))
    assert second[0] < first[0] / 4


@pytest.mark.parametrize("sampler", ["heun", "euler"])
@pytest.mark.parametrize("steps", [1, 4, 50])
def test_flow_samplers_return_an_oracles_x0_in_the_calls_they_say(sampler: SamplerName, steps: int) -> None:
    x0, seen = torch.randn(2, 3, 4, 9), []

    def oracle(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return x0

    assert torch.equal(sample(SamplerConfig(name=sampler, steps=steps), oracle, SCHEDULE, torch.randn(2, 3, 4, 9)), x0)
    assert len(seen) == (2 * steps - 1 if sampler == "heun" else steps)
    assert sorted(set(seen), reverse=True) == steps_for(1000, steps)


@pytest.mark.parametrize("sampler", ["dpm++", "heun", "euler"])
def test_samplers_without_noise_do_not_depend_on_the_batch(sampler: SamplerName) -> None:
    noise = normal([1, 2, 3], (2, 4, 6))
    config = SamplerConfig(name=sampler, steps=12)
    together = sample(config, _gaussian, SCHEDULE, noise)
    for i in range(3):
        assert torch.equal(sample(config, _gaussian, SCHEDULE, noise[i : i + 1])[0], together[i])


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "heun", "euler"])
def test_samplers_serve_every_prediction(sampler: SamplerName, kind: Kind) -> None:
    """The same exact network, seen through each parameterisation, gives the same image."""

    def through(x_t: Tensor, t: Tensor) -> Tensor:
        abar = SCHEDULE.abar(t)
        x0 = _gaussian(x_t, t)
        return to_x0(kind, target(kind, x0, to_eps("x0", x0, x_t, abar), abar), x_t, abar)

    noise = torch.randn(2, 3, 4, dtype=torch.float64)
    config = SamplerConfig(name=sampler, steps=20)
    torch.testing.assert_close(sample(config, through, SCHEDULE, noise), sample(config, _gaussian, SCHEDULE, noise))


@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 0), ("ddim", 1), ("dpm++", 0), ("heun", 0), ("euler", 0)])
def test_samplers_start_from_pure_noise_where_no_signal_is_left(sampler: SamplerName, eta: float) -> None:
    """Zero-terminal schedules: at abar = 0 the exact denoiser says the mean, and samples reach the distribution."""
    schedule = Schedule("sqrt-linear", 1000, 0.0015, 0.0195, to_zero=True)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return _posterior(float(schedule.alphas_cumprod[t[0]]), x_t)

    noise = normal([1, 2], (20_000,)).double()
    out = sample(SamplerConfig(name=sampler, steps=1000, eta=eta), denoise, schedule, noise, [3, 4])
    assert torch.isfinite(out).all()
    assert float(out.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(out.std()) == pytest.approx(STD, rel=0.02)


@pytest.mark.parametrize("sampler", ["dpm++", "heun", "euler"])
def test_a_request_for_noise_is_a_fault_of_samplers_that_draw_none(sampler: SamplerName) -> None:
    said = f"sampler {sampler} draws no noise, so eta must be 0, found 0.5."
    assert SamplerConfig(name=sampler).faults() == []
    assert SamplerConfig(name=sampler, eta=0.5).faults() == [said]
    assert SamplerConfig(name="ddim", eta=0.5).faults() == []
    with pytest.raises(InputError, match=r"eta must be 0, found 0\.5"):
        sample(SamplerConfig(name=sampler, steps=5, eta=0.5), _gaussian, SCHEDULE, torch.randn(1, 4), [1])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "rk4", r"name must be 'ddim', 'dpm\+\+', 'heun' or 'euler', found 'rk4'"),
        ("steps", 0, "steps must be greater than or equal to 1, found 0"),
        ("eta", 1.5, r"eta must be less than or equal to 1, found 1\.5"),
        ("seed", -1, "seed must be greater than or equal to 0, found -1"),
    ],
)
def test_what_no_sampler_can_do_is_rejected_by_its_config(field: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_plain(SamplerConfig, {field: value})
