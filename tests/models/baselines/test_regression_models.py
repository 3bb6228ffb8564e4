"""EDSR and LIIF: shapes, and LIIF against its published formula, query by query in float64."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor

from lsr.models.baselines.build import build
from lsr.models.baselines.config import EdsrConfig, LiifConfig
from lsr.models.baselines.edsr import Edsr
from lsr.models.baselines.liif import Liif, unfold3
from lsr.models.config import RendererConfig
from tests.models.baselines.kit import TINY


def liif_pixel(model: Liif, encoded: Tensor, size: tuple[int, int], at: tuple[int, int]) -> Tensor:
    """LIIF's colour of one output pixel, as its paper and code say it: Eq 2-5 with coordinates in [-1, 1]."""
    sides = encoded.shape[-2:]
    coord = [-1 + (2 * i + 1) / n for i, n in zip(at, size)]
    colours, areas = [], []
    for vy in (-1, 1):
        for vx in (-1, 1):
            near = []
            for c, v, n in zip(coord, (vy, vx), sides):
                moved = min(max(c + v / n + 1e-6, -1 + 1e-6), 1 - 1e-6)
                near.append(min(math.floor((moved + 1) / 2 * n), n - 1))
            around = []
            for channel in encoded[0]:
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        y, x = near[0] + dy, near[1] + dx
                        inside = 0 <= y < sides[0] and 0 <= x < sides[1]
                        around.append(channel[y, x].item() if inside else 0.0)
            relative = [(c - (-1 + (2 * j + 1) / n)) * n for c, j, n in zip(coord, near, sides)]
            cell = [2 / out * n for out, n in zip(size, sides)]
            h = torch.tensor([*around, *relative, *cell], dtype=torch.float64)
            h = model.renderer.first(h)
            for layer in model.renderer.rest:
                h = layer(h.relu())
            colours.append(h)
            areas.append(abs(relative[0] * relative[1]) + 1e-9)
    total = sum(areas)
    return torch.stack([c * (a / total) for c, a in zip(colours, reversed(areas))]).sum(dim=0)


@pytest.mark.parametrize("size", [(7, 9), (3, 4), (2, 11)])
@torch.no_grad()
def test_liif_is_its_formula(size: tuple[int, int]) -> None:
    config = LiifConfig(channels=2, blocks=1, renderer=RendererConfig(hidden=(8, 8, 8, 8)))
    model = cast(Liif, build(config)).double()
    lr = torch.rand(1, 3, 3, 4, dtype=torch.float64) * 2 - 1
    image, encoded = model(lr, size), model.encoder(lr)
    for y in range(size[0]):
        for x in range(size[1]):
            torch.testing.assert_close(
                image[0, :, y, x], liif_pixel(model, encoded, size, (y, x)), rtol=1e-4, atol=2e-6
            )


def test_unfolding_is_the_neighbourhood_with_zeros_outside() -> None:
    x = torch.arange(12.0).reshape(1, 1, 3, 4) + 1
    out = unfold3(x)
    assert out.shape == (1, 9, 3, 4)
    assert out[0, :, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 0, 5, 6]
    assert torch.equal(out[0, 4], x[0, 0])


def test_without_unfolding_the_renderer_takes_the_features_as_they_are() -> None:
    model = cast(Liif, build(LiifConfig(channels=4, blocks=1, unfold=False)))
    lr = torch.rand(1, 3, 3, 4)
    assert model.renderer.channels == 4
    assert torch.equal(model.features(lr), model.encoder(lr))


def test_liif_renders_rows_of_the_whole_image() -> None:
    model = cast(Liif, build(TINY["liif"]))
    lr = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(model(lr, (9, 7), (3, 6)), model(lr, (9, 7))[:, :, 3:6])


@pytest.mark.parametrize(("factor", "size"), [(2, (10, 6)), (3, (15, 9)), (4, (20, 12)), (8, (40, 24))])
def test_edsr_enlarges_by_its_factor(factor: int, size: tuple[int, int]) -> None:
    model = build(EdsrConfig(channels=8, blocks=2, factor=factor))
    assert model(torch.rand(2, 3, 5, 3)).shape == (2, 3, *size)


def test_edsr_subtracts_the_mean_colour_and_adds_it_again() -> None:
    """A network without weights answers with the mean colour of DIV2K, whatever it sees."""
    model = cast(Edsr, build(TINY["edsr"]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    colour = (model(torch.rand(1, 3, 2, 2))[0, :, 0, 0] + 1) / 2
    torch.testing.assert_close(colour, torch.tensor([0.4488, 0.4371, 0.4040]))


def test_the_residual_scale_shrinks_each_branch() -> None:
    config = EdsrConfig(channels=4, blocks=1, factor=2, residual_scale=0.1)
    model = cast(Edsr, build(config)).double()
    layer, x = model.features.body[0], torch.randn(1, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x) - x, 0.1 * layer.body(x))
