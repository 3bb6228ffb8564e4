"""Gradients in one buffer, AdamW, EMA, learning rates, draws: each against an independent reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lsr.core.config import check
from lsr.core.errors import ConfigError, IntegrityError
from lsr.training.config import TrainConfig
from lsr.training.ema import Ema, decay_at
from lsr.training.environment import differences
from lsr.training.flat import FlatGradients
from lsr.training.meter import Meter
from lsr.training.optimiser import AdamW, learning_rate
from lsr.training.protocols import Draws
from lsr.training.state import TrainState

CPU = torch.device("cpu")


def test_backward_adds_up_in_the_flat_buffer() -> None:
    layer = nn.Linear(3, 2)
    flat = FlatGradients(list(layer.parameters()), scalars=2, device=CPU)
    x = torch.randn(4, 3)
    for _ in range(3):
        layer(x).sum().backward()
    assert torch.allclose(flat.gradients[:6].view(2, 3), 3 * x.sum(0).expand(2, 3))
    assert torch.allclose(flat.gradients[6:], torch.full((2,), 12.0))
    assert torch.equal(flat.scalars, torch.zeros(2))
    assert layer.weight.grad is not None
    assert layer.weight.grad.data_ptr() == flat.buffer.data_ptr()
    flat.clear()
    assert not layer.bias.grad.any()


@given(scale=st.floats(1e-3, 1e3), limit=st.floats(1e-2, 1e2))
def test_clipping_limits_the_norm_and_keeps_the_direction(scale: float, limit: float) -> None:
    parameter = nn.Parameter(torch.zeros(5))
    flat = FlatGradients([parameter], scalars=1, device=CPU)
    flat.gradients.copy_(scale * torch.tensor([3.0, 0.0, 0.0, 4.0, 0.0]))
    flat.scalars.fill_(9.0)
    flat.clip_(flat.norm(), limit)
    wanted = min(5 * scale, limit)
    assert flat.norm().item() == pytest.approx(wanted, rel=1e-5)
    assert flat.gradients[0].item() == pytest.approx(0.6 * wanted, rel=1e-5)
    assert flat.scalars.item() == 9.0


def test_a_limit_of_zero_clips_nothing() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    flat = FlatGradients([parameter], scalars=0, device=CPU)
    flat.gradients.fill_(1e6)
    flat.clip_(flat.norm(), 0.0)
    assert flat.gradients.tolist() == [1e6, 1e6]


def test_half_precision_parameters_are_rejected() -> None:
    with pytest.raises(ConfigError, match=r"float32 parameters, found parameters of type torch\.float16"):
        FlatGradients([nn.Parameter(torch.zeros(2, dtype=torch.float16))], scalars=0, device=CPU)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adamw_is_torchs(weight_decay: float) -> None:
    config = TrainConfig(images=320, lr=0.01, betas=(0.8, 0.95), weight_decay=weight_decay)
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    reference = torch.optim.AdamW([theirs], lr=0.01, betas=(0.8, 0.95), weight_decay=weight_decay)
    optimiser = AdamW({"w": ours}, config)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        ours.grad = torch.randn(7, generator=generator)
        theirs.grad = ours.grad.clone()
        optimiser.step(0.01)
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)
    state = reference.state[theirs]
    assert torch.allclose(optimiser.tensors()["exp_avg.w"], state["exp_avg"], atol=1e-7)
    assert torch.allclose(optimiser.tensors()["exp_avg_sq.w"], state["exp_avg_sq"], atol=1e-7)
    assert optimiser.tensors()["step"].item() == state["step"].item() == 20


def test_the_average_follows_its_formula() -> None:
    values = {"w": torch.zeros(1)}
    ema = Ema(values, limit=0.5)
    reference = 0.0
    for n in range(12):
        values["w"].fill_(float(n))
        ema.update(values, n)
        decay = min(0.5, (1 + n) / (10 + n))
        reference = decay * reference + (1 - decay) * n
    assert ema.values["w"].item() == pytest.approx(reference, rel=1e-6)
    assert decay_at(0.999, 10**6) == 0.999
    assert decay_at(0.0, 5) == 0.0


def wanted_rate(config: TrainConfig, step: int) -> float:
    """The rate as docs say it, point by point: straight lines between the corners of the schedule, or half a cosine.

    During the warm-up a step counts its own images, so that the first rate is above 0 and the last is the full one.
    """
    seen = step * config.batch
    if seen < config.warmup:
        return float(np.interp(seen + config.batch, [0, config.warmup], [0, config.lr]))
    corners = {
        "constant": ([config.warmup, config.images], [config.lr, config.lr]),
        "wsd": ([config.warmup, config.images - config.cooldown, config.images], [config.lr, config.lr, 0.0]),
    }
    if config.schedule in corners:
        return float(np.interp(seen, *corners[config.schedule]))
    phase = np.pi * (seen - config.warmup) / max(config.images - config.warmup, 1)
    return config.lr * float(np.cos(phase / 2) ** 2)


@given(
    schedule=st.sampled_from(["constant", "cosine", "wsd"]),
    batch=st.integers(1, 40),
    warmup=st.integers(0, 300),
    stable=st.integers(0, 300),
    falling=st.integers(1, 300),
)
def test_the_learning_rate_follows_its_formula(schedule: str, batch: int, warmup: int, stable: int, falling: int):
    cooldown = falling if schedule == "wsd" else 0
    config = TrainConfig(
        images=warmup + stable + falling, batch=batch, lr=0.3, warmup=warmup, schedule=schedule, cooldown=cooldown
    )
    check(config)
    rates = [learning_rate(config, step) for step in range(config.steps)]
    assert rates == pytest.approx([wanted_rate(config, step) for step in range(config.steps)], abs=1e-12)
    assert all(0 < rate <= config.lr for rate in rates)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
def test_the_learning_rate_counts_images_and_not_steps(schedule: str) -> None:
    """After the warm-up, a batch four times as large has the same rate at the same number of images seen."""
    small = TrainConfig(
        images=960, batch=4, lr=1.0, warmup=160, schedule=schedule, cooldown=320 if schedule == "wsd" else 0
    )
    large = replace(small, batch=16)
    later = range(10, large.steps)
    assert [learning_rate(large, step) for step in later] == [learning_rate(small, 4 * step) for step in later]
    assert learning_rate(large, 0) == pytest.approx(0.1)
    assert learning_rate(large, 9) == pytest.approx(1.0)


def test_a_state_of_another_model_is_rejected() -> None:
    config = TrainConfig(images=16)
    small, large = TrainState(nn.Linear(2, 2), config), TrainState(nn.Linear(2, 3), config)
    with pytest.raises(IntegrityError, match=r"Here: its weights do not fit this model, they differ in bias, bias"):
        large.load(3, small.tensors(), "Here")
    assert large.step == 0


def test_a_loaded_state_is_the_saved_one() -> None:
    config = TrainConfig(images=144, lr=0.1)
    first, second = TrainState(nn.Linear(2, 2), config), TrainState(nn.Linear(2, 2), config)
    for parameter in first.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.update()
    first.update()
    second.load(2, first.tensors(), "Here")
    for part, tensors in first.tensors().items():
        for name, value in tensors.items():
            assert torch.equal(value, second.tensors()[part][name]), (part, name)
    assert second.step == 2
    assert not torch.equal(first.tensors()["ema"]["weight"], first.tensors()["weights"]["weight"])


def test_the_state_averages_the_trained_weights_update_by_update() -> None:
    state = TrainState(nn.Linear(1, 1, bias=False), TrainConfig(images=144, lr=0.1, ema=0.999))
    weight = state.trainable["weight"]
    reference = weight.item()
    for n in range(6):
        weight.grad = torch.ones_like(weight)
        state.update()
        decay = (1 + n) / (10 + n)
        reference = decay * reference + (1 - decay) * weight.item()
    assert state.step == 6
    assert state.tensors()["ema"]["weight"].item() == pytest.approx(reference, rel=1e-5)


def draws(**changes: int | str) -> Draws:
    return Draws(**{"seed": 1, "stage": "denoise", "step": 3, "first": 2, **changes})


def test_noise_and_timesteps_belong_to_the_sample() -> None:
    """However a batch is cut, sample 5 gets the same noise and timestep."""
    whole, part = torch.arange(8), torch.arange(5, 6)
    like = torch.zeros(8, 2, 3)
    assert torch.equal(draws().noise(whole, like)[5:6], draws(step=9, first=0).noise(part, like[:1]))
    assert torch.equal(draws().timesteps(whole, 100)[5:6], draws(step=9, first=0).timesteps(part, 100))
    assert not torch.equal(draws().noise(whole, like), draws(seed=2).noise(whole, like))
    assert not torch.equal(draws().noise(whole, like), draws().noise(whole, like, "posterior"))
    assert not torch.equal(draws().timesteps(whole, 1000), draws(stage="joint").timesteps(whole, 1000))


def test_timesteps_are_uniform() -> None:
    t = draws().timesteps(torch.arange(4000), 10)
    counts = np.bincount(t.numpy(), minlength=10)
    assert len(counts) == 10
    assert abs(counts - 400).max() < 5 * math.sqrt(400)


def test_output_scales_are_uniform_and_one_per_global_batch() -> None:
    """Kolmogorov-Smirnov: the empirical distribution of 2000 steps stays within 1.63 / sqrt(n) (1 %) of uniform."""
    low, high, n = 0.25, 1.5, 2000
    scales = np.sort([draws(step=step, first=step % 4).scale(low, high) for step in range(n)])
    uniform = (scales - low) / (high - low)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform - (np.arange(n) + 0.5) / n).max() < 1.63 / math.sqrt(n)
    assert len({draws(first=first).scale(low, high) for first in range(8)}) == 1
    assert draws().scale(1.0, 1.0) == 1.0


def test_differences_name_what_changed() -> None:
    assert differences({"a": "1"}, {"a": "1"}) == ""
    assert differences({"a": "1", "b": "2"}, {"a": "3", "b": "2"}) == "a was 1 and is 3"


def test_the_meter_counts_images_and_waiting() -> None:
    meter = Meter()
    with meter.waiting():
        sum(range(100_000))
    meter.count(10)
    first, second = meter.read(), meter.read()
    assert first["images_per_second"] > 0
    assert 0 < first["data_wait"] <= 1
    assert first["peak_rss_mib"] > 50
    assert second["images_per_second"] == 0
    assert second["data_wait"] == 0


def test_every_fault_of_a_config_is_named() -> None:
    wrong = TrainConfig(images=-1, batch=0, lr=0.0, ema=1.0, warmup=-2, betas=(0.9, 1.0), window=0)
    with pytest.raises(ConfigError) as error:
        check(wrong)
    for name in ("images", "batch", "lr", "ema", "warmup", "betas", "window"):
        assert name in str(error.value)
