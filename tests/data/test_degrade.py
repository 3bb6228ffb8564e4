"""Degradations against an independent resizer, and their names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from data_prep.config import LatentsConfig
from lsr.core.config import check
from lsr.core.errors import ConfigError, InputError
from lsr.data.config import DegradationConfig
from lsr.data.degrade import blurred, compressed, degradation_digest, degrade, noisy, restore_size

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
def test_the_low_resolution_image_is_the_antialiased_resize(tiles, kind, factor) -> None:
    found = degrade(DegradationConfig(kind=kind, factor=factor), tiles)
    wanted = by_pillow(tiles, (24 // factor, 32 // factor), kind).clamp(-1, 1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_an_image_holds_no_overshoot() -> None:
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
    assert degradation_digest(DegradationConfig()) == "f7b565ffb694"


# Blind degradations

BLIND = DegradationConfig(factor=2, blur=(0.2, 2.0), noise=(1.0, 10.0), jpeg=(30, 95))


def test_blur_is_scipys_gaussian(tiles) -> None:
    found = blurred(tiles.double(), [0.0, 1.7])
    torch.testing.assert_close(found[0], tiles[0].double())
    wanted = np.stack([gaussian_filter(plane, 1.7, mode="nearest") for plane in tiles[1].double().numpy()])
    torch.testing.assert_close(found[1], torch.from_numpy(wanted), atol=1e-9, rtol=0)


def test_noise_has_its_deviation_in_grey_levels() -> None:
    found = noisy(torch.zeros(2, 3, 200, 200), [3.0, 12.0], [1, 2]) * 127.5
    assert found[0].std().item() == pytest.approx(3, rel=0.02)
    assert found[1].std().item() == pytest.approx(12, rel=0.02)
    assert abs(found.mean().item()) < 0.1


def test_jpeg_loses_more_at_lower_quality_and_gives_bytes() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(3, 3, 64, 64) * torch.linspace(-1, 1, 64)[:, None]
    found = compressed(ramp, [95, 50, 5])
    errors = (found - ramp).square().mean(dim=(1, 2, 3))
    assert errors[0] < errors[1] < errors[2]
    levels = (found + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


def test_a_sampled_degradation_is_of_the_sample_and_its_seed_alone(tiles) -> None:
    together = degrade(BLIND, tiles, [5, 6])
    assert together.shape == (2, 3, 12, 16)
    assert together.abs().max() <= 1
    for i, seed in enumerate((5, 6)):
        assert torch.equal(degrade(BLIND, tiles[i : i + 1], [seed])[0], together[i])
    assert not torch.equal(degrade(BLIND, tiles, [7, 6])[0], together[0])
    clean = degrade(DegradationConfig(factor=2), tiles)
    assert (together - clean).abs().max() > 0.05


@pytest.mark.parametrize("part", [{"blur": (1.0, 1.0)}, {"noise": (8.0, 8.0)}, {"jpeg": (20, 20)}])
def test_each_part_of_a_blind_degradation_works_alone(tiles, part) -> None:
    config = DegradationConfig(factor=2, **part)
    assert config.sampled
    found, clean = degrade(config, tiles, [1, 2]), degrade(DegradationConfig(factor=2), tiles)
    assert (found - clean).abs().mean() > 0.01
    assert degradation_digest(config) != degradation_digest(DegradationConfig(factor=2))


def test_what_a_blind_degradation_needs_is_said(tiles) -> None:
    with pytest.raises(InputError, match="needs 2 seeds, found 0"):
        degrade(BLIND, tiles)
    check(BLIND)
    fixed = DegradationConfig(factor=2)
    both = LatentsConfig(degradations=(BLIND, fixed))
    check(both)
    assert both.cached == (fixed,), "what is drawn anew for every sample cannot be cached"
    with pytest.raises(ConfigError, match="blur must satisfy"):
        check(DegradationConfig(blur=(2.0, 1.0)))
    with pytest.raises(ConfigError, match=r"jpeg\[0\] must be greater than or equal to 1, found 0"):
        check(DegradationConfig(jpeg=(0, 90)))
