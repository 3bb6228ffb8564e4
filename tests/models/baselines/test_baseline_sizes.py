"""Parameter counts at the published sizes, by arithmetic that knows nothing of the code, and by figures others print.
Built without memory.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsr.models.baselines.build import build
from lsr.models.baselines.config import BaselineConfig, EdsrConfig, EsrganConfig, IdmConfig, LiifConfig, Sr3Config
from lsr.models.baselines.rrdb import Discriminator


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(config: BaselineConfig) -> nn.Module:
    with torch.device("meta"):
        return build(config)


def conv(i: int, o: int, k: int = 3) -> int:
    return i * o * k * k + o


EDSR_BODY = conv(3, 64) + 16 * 2 * conv(64, 64) + conv(64, 64)


def block(i: int, o: int, attend: bool = False) -> int:
    """SR3: two norms, two convolutions, a linear layer on 64 channels, a 1 x 1 convolution where the width changes."""
    attention = 2 * o + 3 * o * o + conv(o, o, 1) if attend else 0
    return 2 * i + conv(i, o) + 65 * o + 2 * o + conv(o, o) + (conv(i, o, 1) if i != o else 0) + attention


def sr3_without_up() -> int:
    down = [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (512, 512), (512, 512)]
    attended = [(256, 512), (512, 512), (512, 512), (1024, 512), (1024, 512), (768, 512)]
    up = [(1024, 512)] * 3 + [(768, 256), (512, 256), (384, 256), (384, 128), (256, 128), (192, 128)]
    up += [(192, 64), (128, 64), (128, 64)]
    plain = sum(block(i, o) for i, o in [*down, (512, 512), *up])
    halve = conv(64, 64) + conv(128, 128) + conv(256, 256) + conv(512, 512)
    ends = conv(6, 64) + 2 * 64 + conv(64, 3) + conv(64, 256, 1) + conv(256, 64, 1)
    return plain + sum(block(i, o, True) for i, o in attended) + halve + ends


def idm_beside_the_unet() -> int:
    implicit = sum(5 * c + conv(c + 2, 256, 1) + conv(256, c, 1) for c in (128, 256, 512, 512))
    pyramid = sum(conv(i, o) for i, o in [(3, 64), (64, 64), (64, 128), (128, 256), (256, 512)])
    shifts = sum(conv(i, o) for i, o in [(64, 128), (128, 256), (256, 512), (512, 512)])
    return implicit + pyramid + shifts + EDSR_BODY + conv(64, 3)


def rrdb() -> int:
    dense = conv(64, 32) + conv(96, 32) + conv(128, 32) + conv(160, 32) + conv(192, 64)
    return conv(3, 64) + 23 * 3 * dense + 4 * conv(64, 64) + conv(64, 3)


UP = conv(512, 512) + conv(512, 512) + conv(256, 256) + conv(128, 128)
COUNTS: dict[str, tuple[BaselineConfig, int, float]] = {
    "edsr": (EdsrConfig(), EDSR_BODY + 2 * conv(64, 256) + conv(64, 3), 1.518),
    "liif": (LiifConfig(), EDSR_BODY + conv(580, 256, 1) + 3 * conv(256, 256, 1) + conv(256, 3, 1), 1.567),
    "sr3": (Sr3Config(), sr3_without_up() + UP, 97.8),
    "idm": (IdmConfig(), sr3_without_up() + idm_beside_the_unet(), 99.8),
    "esrgan": (EsrganConfig(), rrdb(), 16.70),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_the_published_sizes(kind: str) -> None:
    config, expected, millions = COUNTS[kind]
    found = count(on_meta(config))
    assert found == expected
    assert found / 1e6 == pytest.approx(millions, rel=0.005)


def test_edsr_for_three_and_eight() -> None:
    assert count(on_meta(EdsrConfig(factor=3))) == EDSR_BODY + conv(64, 576) + conv(64, 3)
    assert count(on_meta(EdsrConfig(factor=8))) == EDSR_BODY + 3 * conv(64, 256) + conv(64, 3)


def test_the_discriminator_has_the_widths_of_the_published_one() -> None:
    with torch.device("meta"):
        layers = [m for m in Discriminator(EsrganConfig()).layers if isinstance(m, nn.Conv2d)]
    widths = [(m.in_channels, m.out_channels, m.stride[0]) for m in layers]
    assert widths == [
        (3, 64, 1), (64, 64, 2), (64, 128, 1), (128, 128, 2), (128, 256, 1), (256, 256, 2), (256, 512, 1),
        (512, 512, 2), (512, 512, 1), (512, 512, 2),
    ]  # fmt: skip
