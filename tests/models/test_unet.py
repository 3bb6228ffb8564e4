"""The U-Net: shapes, conditioning, time, and where it attends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsr.core.errors import InputError
from lsr.models.config import UNetConfig
from lsr.models.unet import UNet
from lsr.nn.blocks import Attention

TINY = UNetConfig(channels=8, multipliers=(1, 2, 2), blocks=1, attention_factors=(2,), head_channels=8)


def _awake(unet: UNet) -> UNet:
    """With every zero-initialised layer replaced, so that outputs say something."""
    for name, parameter in unet.named_parameters():
        if name.endswith("weight") and not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    return unet


def test_an_untrained_unet_returns_zero() -> None:
    out = UNet(TINY, 6, 3)(torch.randn(2, 3, 8, 12), torch.tensor([0, 999]), torch.randn(2, 3, 8, 12))
    assert out.shape == (2, 3, 8, 12)
    assert not bool(out.any())


def test_time_and_condition_enter_each_sample() -> None:
    unet = _awake(UNet(TINY, 6, 3)).double()
    x, cond = torch.randn(2, 2, 3, 8, 12, dtype=torch.float64).unbind()
    t = torch.tensor([3, 700])
    out = unet(x, t, cond)
    torch.testing.assert_close(unet(x[1:], t[1:], cond[1:])[0], out[1])
    assert not torch.allclose(unet(x, t.flip(0), cond), out)
    assert not torch.allclose(unet(x, t, cond.flip(0)), out)


def test_the_condition_follows_the_latent_in_the_channels() -> None:
    """Saved weights depend on this order."""
    unet = _awake(UNet(TINY, 6, 3))
    x, cond, t = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.tensor([5])
    assert torch.equal(unet(x, t, cond), unet(torch.cat([x, cond], dim=1), t))


def test_without_condition_it_takes_the_latent_alone() -> None:
    assert UNet(TINY, 3, 3)(torch.randn(1, 3, 4, 4), torch.tensor([5])).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(("factors", "expected"), [((), 1), ((1,), 4), ((2,), 4), ((1, 2, 4), 10)])
def test_attention_factors_are_down_sampling_factors(factors: tuple[int, ...], expected: int) -> None:
    """The middle always attends; each factor adds `blocks` layers on the way down and `blocks + 1` on the way up."""
    config = UNetConfig(channels=8, multipliers=(1, 2, 2), blocks=1, attention_factors=factors, head_channels=8)
    found = [m for m in UNet(config, 3, 3).modules() if isinstance(m, Attention)]
    assert len(found) == expected
    assert all(m.heads == m.qkv.in_channels // 8 for m in found)


def test_every_weight_takes_part() -> None:
    unet = _awake(UNet(TINY, 6, 3))
    unet(torch.randn(1, 3, 8, 8), torch.tensor([10]), torch.randn(1, 3, 8, 8)).square().sum().backward()
    assert not [name for name, p in unet.named_parameters() if p.grad is None or not bool(p.grad.any())]


def test_sides_that_the_factor_does_not_divide_are_rejected() -> None:
    with pytest.raises(InputError, match=r"multiples of 4, found \(8, 10\)"):
        UNet(TINY, 3, 3)(torch.randn(1, 3, 8, 10), torch.tensor([5]))
