"""One system on one device: what its choices change, and that no hop on the way to the network forgets one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lsr.core.errors import ConfigError, InputError
from lsr.diffusion import samplers
from lsr.diffusion.config import SamplerConfig
from lsr.inference import baselines as baselines_module
from lsr.inference import executor as module
from lsr.inference import generate as generate_module
from lsr.inference import upscale as upscale_module
from lsr.inference.baselines import Comparator
from lsr.inference.config import ExecutorConfig, Precision
from lsr.inference.executor import Executor, device_of, placed
from lsr.inference.request import Target
from lsr.models.baselines.build import build
from tests.inference.kit import make_image
from tests.models.baselines.kit import TINY
from tests.training.kit import tiny_system

# No field has its default, so that one that is forgotten shows.
ODD = SamplerConfig(name="ddim", steps=3, eta=0.7, seed=99)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SamplerConfig]:
    """Every config that reaches a sampler."""
    found: list[SamplerConfig] = []

    def recording(config: SamplerConfig, *rest: Any) -> Tensor:
        found.append(config)
        return samplers.sample(config, *rest)

    for one in (upscale_module, generate_module, baselines_module):
        monkeypatch.setattr(one, "sample", recording)
    return found


def comparator(kind: str) -> Comparator:
    torch.manual_seed(1)
    return Comparator(build(TINY[kind]), TINY[kind])


WAYS: dict[str, Callable[[], object]] = {
    "one image": lambda: Executor(tiny_system()).upscale(make_image(4, 3), Target(scale=2.0), ODD),
    "several": lambda: Executor(tiny_system()).upscale_all([make_image(4, 3)], [Target(scale=2.0)], ODD),
    "as an evaluation": lambda: Executor(tiny_system()).upscaler(ODD)(make_image(4, 3), [(8, 6)]),
    "not rounded": lambda: Executor(tiny_system()).upscaler(ODD, rounding=False)(make_image(4, 3), [(8, 6)]),
    "generation": lambda: Executor(tiny_system(conditional=False)).generate((8, 8), 1, ODD),
    "sr3": lambda: Executor(comparator("sr3")).upscaler(ODD)(make_image(4, 3), [(8, 6)]),
    "idm": lambda: Executor(comparator("idm")).upscaler(ODD)(make_image(4, 3), [(8, 6)]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_sampler_reaches_the_network_whole(asked: list[SamplerConfig], way: str) -> None:
    WAYS[way]()
    assert asked == [ODD]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_not_equal(precision: Precision) -> None:
    system, image, target = tiny_system(), make_image(6, 5), Target(scale=3.0)
    whole = Executor(system).upscale(image, target, ODD).astype(int)
    half = Executor(system, precision=precision).upscale(image, target, ODD).astype(int)
    assert 0 < np.abs(whole - half).max() <= 8
    comparator_ = comparator("edsr")
    exact, near = (Executor(comparator_, precision=p).upscale(image, target) for p in ("fp32", precision))
    assert 0 < np.abs(exact.astype(int) - near.astype(int)).max() <= 8


def test_the_precision_is_that_of_the_networks_and_the_sampler_adds_up_in_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, set[torch.dtype]] = {"unet": set(), "x_t": set()}
    system = tiny_system()
    forward = type(system.unet).forward

    def watched(self: nn.Module, x: Tensor, *rest: Any) -> Tensor:
        out: Tensor = forward(self, x, *rest)
        seen["x_t"].add(x.dtype)
        seen["unet"].add(out.dtype)
        return out

    monkeypatch.setattr(type(system.unet), "forward", watched)
    Executor(system, precision="bf16").upscale(make_image(4, 4), Target(scale=2.0), ODD)
    assert seen == {"unet": {torch.bfloat16}, "x_t": {torch.float32}}


def test_fp32_is_fp32_while_it_works_and_the_process_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = []
    original = module.sampled
    monkeypatch.setattr(
        module, "sampled", lambda *rest: seen.append(torch.backends.cudnn.allow_tf32) or original(*rest)
    )
    Executor(tiny_system()).upscale(make_image(4, 4), Target(scale=2.0), ODD)
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32 is True


def test_the_memory_format_changes_no_more_than_rounding() -> None:
    system, image, target = tiny_system(), make_image(6, 5), Target(scale=3.0)
    plain = Executor(system).upscale(image, target, ODD).astype(int)
    executor = Executor(system, ExecutorConfig(channels_last=True))
    weights = [p for p in system.parameters() if p.dim() == 4 and p.shape[2] > 1 < p.shape[1]]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert np.abs(executor.upscale(image, target, ODD).astype(int) - plain).max() <= 1


def test_many_large_images_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LR_PIXELS_AT_ONCE", 50)
    batches = Executor(tiny_system())._batches([make_image(4, 4)] * 4 + [make_image(8, 8)] * 2)
    assert list(batches) == [[0, 1, 2], [3], [4], [5]]


def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of(ExecutorConfig()).type == "cpu"
    with pytest.raises(ConfigError, match=r"executor\.device is cuda and this process sees no GPU"):
        Executor(tiny_system(), ExecutorConfig(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(ExecutorConfig()).type == "cuda"
    assert device_of(ExecutorConfig(device="cpu")).type == "cpu"


def test_what_a_system_cannot_do_is_said_before_any_work(asked: list[SamplerConfig]) -> None:
    latent = Executor(tiny_system())
    with pytest.raises(InputError, match="between 1 and the schedule's 100, found 101"):
        latent.check(SamplerConfig(steps=101))
    with pytest.raises(InputError, match="between 1 and the schedule's 100, found 101"):
        Executor(comparator("sr3")).check(SamplerConfig(steps=101))
    Executor(comparator("edsr")).check(SamplerConfig(steps=101))
    with pytest.raises(InputError, match="takes no LR image"):
        Executor(tiny_system(conditional=False)).check(ODD)
    with pytest.raises(InputError, match="cannot generate"):
        Executor(comparator("sr3")).generate((4, 4))
    with pytest.raises(InputError, match="answers in 8 bits"):
        Executor(comparator("sr3")).upscale_exact(make_image(2, 2), [Target(scale=2.0)], ODD)
    with pytest.raises(InputError, match="must be a numpy array of uint8"):
        latent.upscale_all([make_image(2, 2), np.zeros((2, 2, 3))], [Target(scale=2.0)], ODD)  # type: ignore[list-item]
    assert asked == []


def test_a_placed_metric_takes_and_gives_tensors_of_the_cpu() -> None:
    class Mean(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a - b).mean((1, 2, 3))

    a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    found = placed(Mean(), torch.device("cpu"))(a, b)
    assert found.device.type == "cpu"
    assert torch.equal(found, (a - b).mean((1, 2, 3)))
