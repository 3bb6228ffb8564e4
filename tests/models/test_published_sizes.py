"""Models at the published configs have the published sizes (method.md 1.2 and 1.4). Built without memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsr.core.config import check
from lsr.core.errors import ConfigError
from lsr.models.autoencoder import Encoder
from lsr.models.config import AutoencoderConfig, RendererConfig, UNetConfig
from lsr.models.neural_decoder import NeuralDecoder
from lsr.models.unet import UNet

FACES = AutoencoderConfig(latent_channels=32, bottleneck="kl")
DIV2K = AutoencoderConfig()
TOWER = AutoencoderConfig(multipliers=(1, 2, 4, 4), latent_channels=32, bottleneck="kl")


def _millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize(
    ("config", "encoder", "decoder"), [(FACES, 22.6, 30.1), (DIV2K, 22.3, 30.0), (TOWER, 34.4, 44.3)]
)
def test_first_stage(config: AutoencoderConfig, encoder: float, decoder: float) -> None:
    with torch.device("meta"):
        neural = NeuralDecoder(config, RendererConfig())
        assert _millions(Encoder(config)) == pytest.approx(encoder, abs=0.05)
    assert _millions(neural.trunk) == pytest.approx(decoder, abs=0.05)
    assert _millions(neural.renderer) == pytest.approx(0.232, abs=0.0005)
    assert neural.trunk.out_channels == 128


@pytest.mark.parametrize(
    ("config", "channels", "millions"),
    [
        (UNetConfig(channels=256, multipliers=(1, 2, 4, 4), attention_factors=(4, 2, 1)), (64, 32), 411),
        (UNetConfig(channels=160, multipliers=(1, 2, 2, 4), attention_factors=(8,)), (6, 3), 113.6),
        (UNetConfig(channels=160, multipliers=(1, 2, 2, 4), attention_factors=()), (6, 3), 105.4),
        (UNetConfig(channels=224, multipliers=(1, 2, 3, 4), attention_factors=(8, 4, 2)), (3, 3), 274),
    ],
    ids=["faces", "div2k", "df2k", "ldm-generation"],
)
def test_unets(config: UNetConfig, channels: tuple[int, int], millions: float) -> None:
    check(config)
    with torch.device("meta"):
        unet = UNet(config, *channels)
    assert _millions(unet) == pytest.approx(millions, abs=0.05 if isinstance(millions, float) else 0.5)


def test_attention_factors_that_are_never_reached_are_rejected() -> None:
    """The published DF2K config names (12, 6), which LDM's code silently never reaches."""
    with pytest.raises(ConfigError, match=r"\[12, 6\] are never reached"):
        check(UNetConfig(attention_factors=(12, 6)))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (UNetConfig(channels=40, head_channels=32), "head_channels must divide"),
        (UNetConfig(multipliers=()), "multipliers"),
        (AutoencoderConfig(latent_channels=0), "latent_channels"),
        (AutoencoderConfig(channels=12), "multiple of 8"),
    ],
)
def test_impossible_architectures_are_rejected_before_they_are_built(config: object, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check(config)
