"""SR3 and IDM: the noise level, sizes that nothing divides, and IDM's own pieces against their formulas in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from lsr.models.baselines.build import build
from lsr.models.baselines.config import IdmConfig, PixelUNetConfig, Sr3Config
from lsr.models.baselines.idm import BiasedLeaky, EqualConv, Idm, ImplicitUp, Reduce, smooth
from lsr.models.baselines.pixel_unet import NoiseLevel, PixelUNet
from lsr.models.baselines.sr3 import Sr3
from lsr.nn.blocks import Attention
from tests.models.baselines.kit import TINY

IDM = cast(IdmConfig, TINY["idm"])


def sr3() -> Sr3:
    return cast(Sr3, build(TINY["sr3"])).eval()


def idm(config: IdmConfig = IDM) -> Idm:
    return cast(Idm, build(config)).eval()


def test_the_noise_level_is_embedded_by_sines_and_cosines_of_falling_frequency() -> None:
    layer = NoiseLevel(8)
    seen: list[Tensor] = []
    layer.first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    layer(torch.tensor([0.3, 0.9], dtype=torch.float64))
    frequencies = [math.exp(-math.log(1e4) * i / 4) for i in range(4)]
    for row, level in zip(seen[0], (0.3, 0.9)):
        expected = [math.cos(level * f) for f in frequencies] + [math.sin(level * f) for f in frequencies]
        torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("kind", ["sr3", "idm"])
def test_each_sample_sees_its_own_level_and_condition(kind: str) -> None:
    model = build(TINY[kind]).eval()
    x, lr, level = torch.randn(2, 3, 8, 6), torch.randn(2, 3, 4, 3), torch.tensor([0.2, 0.9])

    def run(x: Tensor, level: Tensor, lr: Tensor) -> Tensor:
        steer = model.guide(lr, (8, 6)) if isinstance(model, Idm) else cast(Sr3, model).condition(lr, (8, 6))
        out: Tensor = model(x, level, steer)
        return out

    out = run(x, level, lr)
    torch.testing.assert_close(run(x[1:], level[1:], lr[1:])[0], out[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(run(x, level.flip(0), lr), out)
    assert not torch.allclose(run(x, level, lr.flip(0)), out)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (16, 16), (13, 40)])
def test_any_size_and_aspect_ratio(size: tuple[int, int]) -> None:
    lr, x, level = torch.rand(1, 3, 2, 3), torch.randn(1, 3, *size), torch.tensor([0.5])
    three = PixelUNetConfig(channels=8, multipliers=(1, 2, 2), blocks=1, attention_factors=(4,), dropout=0.0)
    for name in ("sr3", "idm"):
        model = build(replace(TINY[name], unet=three)).eval()  # type: ignore[arg-type]
        steer = model.guide(lr, size) if isinstance(model, Idm) else cast(Sr3, model).condition(lr, size)
        out = model(x, level, steer)
        assert out.shape == x.shape
        assert bool(out.isfinite().all())


def test_sr3_pads_by_the_edge_and_crops_back() -> None:
    model = sr3()
    x, cond, level = torch.randn(1, 3, 5, 6), torch.randn(1, 3, 5, 6), torch.tensor([0.5])
    padded = [torch.cat([t, t[:, :, -1:]], dim=2) for t in (x, cond)]
    assert torch.equal(model(x, level, cond), model(padded[0], level, padded[1])[:, :, :5])


def test_attention_is_at_the_named_factors_and_in_the_middle_with_one_head() -> None:
    config = PixelUNetConfig(channels=8, multipliers=(1, 2, 2), blocks=2, attention_factors=(4,))
    found = [m for m in PixelUNet(config).modules() if isinstance(m, Attention)]
    assert len(found) == 2 + 1 + 3
    assert all(m.heads == 1 and m.qkv.bias is None for m in found)


def test_the_widths_of_the_published_network_have_thirty_two_groups() -> None:
    with torch.device("meta"):
        norms = [m for m in PixelUNet(PixelUNetConfig()).modules() if isinstance(m, nn.GroupNorm)]
    assert {m.num_groups for m in norms} == {32}


def test_both_start_orthogonal() -> None:
    layer = idm().up[0].second  # type: ignore[union-attr]
    weight = cast(nn.Linear, layer).weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), rtol=0, atol=1e-5)
    assert not bool(sr3().unet.conv_in.bias.any())  # type: ignore[union-attr]


def awake(up: ImplicitUp) -> ImplicitUp:
    """In float64, with random biases."""
    for parameter in up.parameters():
        nn.init.normal_(parameter, std=0.5)
    return up.double()


def test_modulation_is_the_formula() -> None:
    """Eq 5-8 of IDM: h = a1 u + a2 f, (a1, a2) normalised, then sqrt(2) LeakyReLU_0.2(h + b)."""
    up = awake(ImplicitUp(3, IDM))
    p = torch.tensor([0.0, 0.4], dtype=torch.float64)
    u, f = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64).unbind()
    seen: list[Tensor] = []
    up.enlarge = lambda h, size: seen.append(h) or h  # type: ignore[assignment, func-returns-value, method-assign]
    up(u, (8, 10), p, f)
    for sample in range(2):
        for channel in range(3):
            raw = [v.weight[channel] * p[sample] + v.bias[channel] for v in (up.first_vector, up.second_vector)]
            a1, a2 = (r / (raw[0] ** 2 + raw[1] ** 2 + 1e-8).sqrt() for r in raw)
            h = a1 * u[sample, channel] + a2 * f[sample, channel] + up.activation.bias[channel]
            expected = torch.where(h > 0, h, 0.2 * h) * math.sqrt(2)
            torch.testing.assert_close(seen[0][sample, channel], expected)


def published_cells(size: tuple[int, int]) -> Tensor:
    """The published code, word for word: it means the two columns and takes the first two rows of [B, N, 2]."""
    cell = torch.ones(1, size[0] * size[1], 2, dtype=torch.float64)
    cell[:, 0] *= 2 / size[0]
    cell[:, 1] *= 2 / size[1]
    return cell[0].reshape(*size, 2)


@pytest.mark.parametrize("cells", ["none", "right", "published"])
@torch.no_grad()
def test_implicit_upsampling_is_the_formula(cells: str) -> None:
    config = replace(IDM, cell_decoding=cells != "none", published_cell=cells == "published")
    up = awake(ImplicitUp(3, config))
    h, size = torch.randn(2, 3, 3, 5, dtype=torch.float64), (5, 9)
    out = up.enlarge(h, size)
    assert out.shape == (2, 3, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            coord = [-1 + (2 * i + 1) / n for i, n in zip((y, x), size)]
            near = [math.floor((c + 1) / 2 * n) for c, n in zip(coord, (3, 5))]
            relative = [(c - (-1 + (2 * j + 1) / n)) * n for c, j, n in zip(coord, near, (3, 5))]
            cell = published_cells(size)[y, x] if cells == "published" else torch.tensor([2 / 5, 2 / 9])
            inputs = [*relative, *((cell.double() * torch.tensor([3.0, 5.0])).tolist() if cells != "none" else [])]
            for sample in range(2):
                query = torch.cat([h[sample, :, near[0], near[1]], torch.tensor(inputs, dtype=torch.float64)])
                hidden = up.first.weight @ query + up.first.bias
                expected = up.second.weight @ hidden + up.second.bias
                torch.testing.assert_close(out[sample, :, y, x], expected, rtol=1e-6, atol=1e-7)


def test_the_pyramid_smooths_and_halves() -> None:
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    kernel = np.outer([1, 3, 1], [1, 3, 1]) / 25
    expected = np.stack([ndimage.correlate(plane, kernel, mode="constant") for plane in x[0].numpy()])
    np.testing.assert_allclose(smooth(x)[0].numpy(), expected, atol=1e-12)
    assert Reduce(2, 4)(x.float()).shape == (1, 4, 3, 4)


def test_equalised_layers_divide_by_the_root_of_the_fan_in() -> None:
    layer = EqualConv(4, 6, bias=True)
    x = torch.randn(1, 4, 5, 5)
    expected = nn.functional.conv2d(x, layer.weight / 6, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)
    leaky = BiasedLeaky(1)
    nn.init.constant_(leaky.bias, 1.0)
    torch.testing.assert_close(leaky(torch.tensor([[[[1.0, -3.0]]]])).flatten(), torch.tensor([2.0, -0.4]) * 2**0.5)


@pytest.mark.parametrize(
    ("size", "clamp", "expected"),
    [
        ((8, 8), True, 0.0),
        ((64, 64), True, 1.0),
        ((36, 36), True, 0.5),
        ((96, 96), True, 1.0),
        ((96, 96), False, 11 / 7),
        ((4, 4), True, 0.0),
        ((16, 32), True, (8**0.5 - 1) / 7),
    ],
)
def test_p_follows_from_the_scale(size: tuple[int, int], clamp: bool, expected: float) -> None:
    model = idm(replace(IDM, largest=8.0, clamp_scale=clamp))
    assert model.position_of((8, 8), size) == pytest.approx(expected)
    assert model.guide(torch.rand(2, 3, 8, 8), size).p.tolist() == pytest.approx([expected] * 2)


def test_the_condition_is_edsr_resized_to_the_nearest_pixel() -> None:
    model = idm()
    lr = torch.rand(1, 3, 3, 4)
    features = model.encoder(lr).repeat_interleave(2, dim=2).repeat_interleave(3, dim=3)
    torch.testing.assert_close(model.guide(lr, (6, 12)).image, model.encoder_out(features))


def test_the_condition_enters_the_network_before_the_noise() -> None:
    model = sr3()
    seen: list[Tensor] = []
    model.unet.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, cond = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    model(x, torch.tensor([0.5]), cond)
    assert torch.equal(seen[0], torch.cat([cond, x], dim=1))


def test_the_published_forward_process() -> None:
    """method.md 4: the last step of 2000 keeps 4.4e-5 of the signal's variance."""
    with torch.device("meta"):
        schedule = cast(Sr3, build(Sr3Config())).schedule
    assert schedule.steps == 2000
    assert float(schedule.alphas_cumprod[-1]) == pytest.approx(4.4e-5, rel=0.02)
    assert float(schedule.alphas_cumprod[0]) == pytest.approx(1 - 1e-6)
