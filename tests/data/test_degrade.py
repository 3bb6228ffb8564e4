"""Degradations against an independent resizer, and their names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.config import DegradationConfig
from lsr.core.errors import InputError
from lsr.data.degrade import degradation_digest, degrade, restore_size

PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


def by_pillow(x: torch.Tensor, size: tuple[int, int], kind: str) -> torch.Tensor:
    planes = [Image.fromarray(p.numpy()).resize(size[::-1], PILLOW[kind]) for p in x.flatten(0, 1)]
    return torch.from_numpy(np.stack([np.asarray(p) for p in planes])).reshape(*x.shape[:2], *size)


@pytest.fixture
def tiles() -> torch.Tensor:
    return torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("kind", ["bicubic", "area"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_the_low_resolution_picture_is_the_antialiased_resize(tiles, kind, factor) -> None:
    found = degrade(DegradationConfig(kind=kind, factor=factor), tiles)
    wanted = by_pillow(tiles, (24 // factor, 32 // factor), kind).clamp(-1, 1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_picture_holds_no_overshoot() -> None:
    edge = torch.ones(1, 3, 16, 16)
    edge[..., 8:] = -1
    found = degrade(DegradationConfig(factor=2), edge)
    assert found.abs().max() == 1


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "bicubic"])
def test_the_condition_is_brought_back_to_the_tile_by_the_named_kernel(tiles, upsample) -> None:
    found = restore_size(DegradationConfig(upsample=upsample), tiles, (96, 128))
    torch.testing.assert_close(found, by_pillow(tiles, (96, 128), upsample), atol=1e-5, rtol=0)


def test_nearest_repeats_every_pixel() -> None:
    lr = torch.arange(12.0).reshape(1, 3, 2, 2)
    found = restore_size(DegradationConfig(upsample="nearest"), lr, (8, 8))
    assert torch.equal(found, lr.repeat_interleave(4, -1).repeat_interleave(4, -2))


def test_sides_must_be_multiples_of_the_factor(tiles) -> None:
    with pytest.raises(InputError, match=r"degradation by 5 .* found 24 x 32"):
        degrade(DegradationConfig(factor=5), tiles)


def test_a_degradation_is_named_by_what_it_does() -> None:
    """Cached latents are found by this name: it must not change for unchanged degradations."""
    digests = {
        degradation_digest(DegradationConfig(kind=kind, factor=factor, upsample=upsample))
        for kind in ("bicubic", "area")
        for factor in (2, 4)
        for upsample in ("nearest", "bilinear", "bicubic")
    }
    assert len(digests) == 12
    assert degradation_digest(DegradationConfig()) == "f42074918586"
