"""A decoder that sees the LR image's pixels: its edge, its errors, its windows, and the rules of its config."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.core.config import check
from lsr.core.errors import ConfigError, InputError
from lsr.inference.render import features_of
from lsr.inference.windows import Window
from lsr.models.body import Body
from lsr.models.config import (
    AutoencoderConfig,
    BodyConfig,
    DiffusionConfig,
    RendererConfig,
    SystemConfig,
    UNetConfig,
)
from lsr.models.system import LatentSystem

SYSTEM = SystemConfig(
    autoencoder=AutoencoderConfig(patch=4, channels=8, multipliers=(1,), blocks=1, latent_channels=4),
    renderer=RendererConfig(kind="shuffle"),
    unet=UNetConfig(channels=8, multipliers=(1, 1), blocks=1, attention_factors=(), head_channels=8),
    diffusion=DiffusionConfig(steps=8, prediction="x0", shift=True),
    residual=True,
    body=BodyConfig(channels=8, blocks=2),
)


def system(config: SystemConfig = SYSTEM) -> LatentSystem:
    torch.manual_seed(3)
    made = LatentSystem(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def conv(x: Tensor, layer: torch.nn.Module) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def test_the_body_is_edsr_s_on_the_sum_of_pixels_and_latent_features() -> None:
    torch.manual_seed(1)
    body, lr, latent = Body(6, BodyConfig(channels=8, blocks=2)), torch.randn(2, 3, 5, 7), torch.randn(2, 6, 5, 7)
    h = start = conv(lr, body.head) + conv(latent, body.join)
    for block in body.blocks[:2]:
        h = h + conv(conv(h, block.body[0]).clamp(min=0), block.body[2])
    torch.testing.assert_close(body(lr, latent), start + conv(h, body.blocks[2]))


@torch.no_grad()
def test_a_latent_larger_than_the_lr_image_sees_its_edge_repeated() -> None:
    made, lr = system(), torch.rand(1, 3, 5, 7) * 2 - 1
    z = torch.randn(1, 4, 6, 8)
    wide = torch.cat([lr, lr[..., -1:]], dim=3)
    wide = torch.cat([wide, wide[..., -1:, :]], dim=2)
    torch.testing.assert_close(made.decoder.features(z, lr), made.decoder.features(z, wide))
    with pytest.raises(InputError, match="at most"):
        made.decoder.features(z, torch.zeros(1, 3, 7, 8))
    with pytest.raises(InputError, match="give it the LR image"):
        made.decoder.features(z)


@torch.no_grad()
def test_windows_see_their_own_part_of_the_lr_image() -> None:
    """Away from every window's border the features are those of the whole: nothing of the body is displaced."""
    config = replace(SYSTEM, autoencoder=replace(SYSTEM.autoencoder, mid_attention=False))
    made, lr = system(config), torch.rand(1, 3, 40, 40) * 2 - 1
    # The trunk's group norm is of its whole input: alike in every window where the latent is constant.
    z = torch.zeros(1, 4, 40, 40)
    whole = made.decoder.features(z, lr)
    windows = features_of(made, z, Window(32, 24), lr)
    middle = (..., slice(14, 26), slice(14, 26))
    assert (windows[middle] - whole[middle]).abs().mean() < 0.1 * whole[middle].std()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"residual": False}, "residual"),
        ({"base_scale": 2}, "one latent position per LR pixel"),
        ({"conditional": False}, "generation"),
        ({"diffusion": DiffusionConfig(prediction="eps", shift=True)}, "needs prediction x0"),
        ({"diffusion": DiffusionConfig(prediction="x0", shift=True, zero_terminal=True)}, "zero_terminal"),
    ],
)
def test_configs_that_cannot_be(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(replace(SYSTEM, **change))  # type: ignore[arg-type]
