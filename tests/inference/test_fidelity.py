"""The fidelity dial: from the sampled latent to the condition's own, which needs no denoiser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.diffusion.config import SamplerConfig
from lsr.inference.executor import Executor
from lsr.inference.request import Target
from lsr.inference.upscale import sampled
from lsr.models.system import LatentSystem
from tests.inference.kit import make_image, upscale
from tests.models.test_body import SYSTEM, system


class Counting(nn.Module):
    """A U-Net that counts its calls."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.calls = unet, 0

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        out: Tensor = self.unet(x, t, cond)
        return out


@pytest.fixture
def counted() -> tuple[LatentSystem, Counting]:
    made = system()
    made.unet = Counting(made.unet)  # type: ignore[assignment]
    return made, made.unet


@pytest.mark.parametrize(("fidelity", "calls"), [(0.0, 1), (0.5, 1), (1.0, 0)])
def test_only_full_fidelity_calls_no_denoiser(
    counted: tuple[LatentSystem, Counting], fidelity: float, calls: int
) -> None:
    made, unet = counted
    upscale(made, make_image(7, 9), scale=3.7, steps=1, fidelity=fidelity)
    assert unet.calls == calls


@torch.no_grad()
def test_full_fidelity_decodes_the_condition() -> None:
    made, image = system(), make_image(7, 9)
    lr = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    wanted = made.decode(made.condition(lr), (26, 33), extent=made.extent((28, 36)), lr=lr)
    levels = ((wanted.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    got = upscale(made, image, size=(26, 33), steps=1, fidelity=1.0)
    assert np.abs(got.astype(int) - levels).max() <= 1


@torch.no_grad()
def test_between_the_ends_the_latent_is_their_mixture() -> None:
    made, images = system(), make_image(8, 8)[None]
    made.decoder.trunk = nn.Identity()
    made.decoder.body = None
    ends = [sampled(made, images, SamplerConfig(steps=1, fidelity=f)).features for f in (0.0, 1.0)]
    middle = sampled(made, images, SamplerConfig(steps=1, fidelity=0.25)).features
    torch.testing.assert_close(middle, 0.75 * ends[0] + 0.25 * ends[1])
    assert (ends[0] - ends[1]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (SamplerConfig(steps=2, name="heun"), "residual shifting"),
        (SamplerConfig(steps=2, eta=0.5), "residual shifting"),
        (SamplerConfig(steps=9), "between 1 and"),
    ],
)
def test_samplers_that_a_shifted_system_has_not(sampler: SamplerConfig, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Executor(system()).upscale(make_image(4, 4), Target(scale=2), sampler)


def test_generation_knows_no_fidelity() -> None:
    diffusion = replace(SYSTEM.diffusion, shift=False)
    made = system(replace(SYSTEM, conditional=False, residual=False, body=None, diffusion=diffusion))
    with pytest.raises(InputError, match="fidelity"):
        Executor(made).generate((32, 32), sampler=SamplerConfig(steps=1, fidelity=0.5))
