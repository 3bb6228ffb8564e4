"""The convolutional renderer against one written on grid_sample, and its bands against the whole image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsr.core.config import check
from lsr.core.errors import ConfigError, InputError
from lsr.models import renderer as module
from lsr.models.autoencoder import Autoencoder
from lsr.models.config import AutoencoderConfig, RendererConfig
from lsr.models.conv_renderer import HALO, ConvRenderer
from lsr.models.neural_decoder import NeuralDecoder


def _renderer(**config: bool) -> ConvRenderer:
    torch.manual_seed(1)
    made = ConvRenderer(5, RendererConfig(kind="conv", channels=8, **config)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def _norm(x: Tensor, layer: torch.nn.Module) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
    return scaled * layer.weight[:, None, None] + layer.bias[:, None, None]


def naive_clif(renderer: ConvRenderer, features: Tensor, size: tuple[int, int]) -> Tensor:
    """The whole image in INFD's words: nearest sample, relative coordinate and cell times the map's sides, convs."""
    b, h, w = len(features), *features.shape[-2:]
    axes = [-1 + (2 * torch.arange(n, dtype=torch.float64) + 1) / n for n in size]
    coord = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    own = [-1 + (2 * torch.arange(n, dtype=torch.float64) + 1) / n for n in (h, w)]
    centres = torch.stack(torch.meshgrid(*own, indexing="ij"))[None]
    grid = coord.flip(-1)[None]
    nearest = F.grid_sample(features, grid.expand(b, -1, -1, -1), mode="nearest", align_corners=False)
    sides = torch.tensor([h, w], dtype=torch.float64)[:, None, None]
    there = F.grid_sample(centres, grid, mode="nearest", align_corners=False)[0]
    planes = [(coord.permute(2, 0, 1) - there) * sides]
    if renderer.config.cell_decoding:
        planes.append((2 / torch.tensor(size, dtype=torch.float64)[:, None, None] * sides).expand(-1, *size))
    x = torch.cat([nearest, torch.cat(planes).expand(b, -1, -1, -1)], dim=1)

    def conv(x: Tensor, layer: torch.nn.Conv2d) -> Tensor:
        return F.conv2d(x, layer.weight, layer.bias, padding=1)

    x = conv(x, renderer.conv_in)
    for block in renderer.blocks:
        inner = conv(F.silu(_norm(x, block.norm_in)), block.conv_in)
        x = x + conv(F.silu(_norm(inner, block.norm_out)), block.conv_out)
    return conv(F.silu(_norm(x, renderer.norm_out)), renderer.last)


@pytest.mark.parametrize("cell", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (8, 11), (13, 7), (23, 2), (1, 1)])
def test_equals_a_naive_renderer(size: tuple[int, int], cell: bool) -> None:
    """At sizes where no pixel centre lies exactly between two feature pixels."""
    renderer, features = _renderer(cell_decoding=cell), torch.randn(2, 5, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(renderer(features, size), naive_clif(renderer, features, size), atol=1e-9, rtol=0)


def test_it_has_infds_layers() -> None:
    with torch.device("meta"):
        found = ConvRenderer(128, RendererConfig(kind="conv"))
    convs = [m for m in found.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convs] == [(132, 256), *[(256, 256)] * 4, (256, 3)]
    assert {m.kernel_size for m in convs} == {(3, 3)}
    convolutions = 132 * 256 * 9 + 256 + 4 * (256 * 256 * 9 + 256) + 256 * 3 * 9 + 3
    assert sum(p.numel() for p in found.parameters()) == convolutions + 5 * 2 * 256


@settings(max_examples=30, deadline=None)
@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 9))
def test_a_band_of_rows_is_cut_from_the_whole_image(data: st.DataObject, height: int, width: int) -> None:
    start = data.draw(st.integers(0, height - 1))
    stop = data.draw(st.integers(start + 1, height))
    renderer, features = _renderer(), torch.randn(1, 5, 4, 6, dtype=torch.float64)
    whole = renderer(features, (height, width))
    part = renderer(features, (height, width), (start, stop))
    torch.testing.assert_close(part, whole[:, :, start:stop], atol=1e-12, rtol=0)


def test_the_halo_is_what_the_colours_depend_on() -> None:
    """A change of the last feature row reaches HALO output rows above its own, and no row more."""
    renderer, features = _renderer(), torch.randn(1, 5, 16, 3, dtype=torch.float64)
    other = features.clone()
    other[:, :, -1] += 1
    changed = (renderer(features, (64, 12)) != renderer(other, (64, 12))).any(dim=3)[0].any(dim=0).nonzero()
    assert int(changed.min()) == 60 - HALO


def test_memory_is_bounded_where_no_gradient_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, features = _renderer(), torch.randn(2, 5, 4, 6, dtype=torch.float64)
    whole = renderer(features, (90, 10)).detach()
    monkeypatch.setitem(module.QUERIES_AT_ONCE, "cpu", 200)
    seen: list[int] = []
    renderer.conv_in.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[2]))
    with torch.no_grad():
        torch.testing.assert_close(renderer(features, (90, 10)), whole, atol=1e-12, rtol=0)
    assert len(seen) == 9
    assert max(seen) == 10 + 2 * HALO


def test_gradients_equal_those_of_the_naive_renderer() -> None:
    renderer, features = _renderer(), torch.randn(2, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    wanted = [features, *renderer.parameters()]
    upstream = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    expected = torch.autograd.grad(naive_clif(renderer, features, (7, 10)), wanted, upstream)
    actual = torch.autograd.grad(renderer(features, (7, 10)), wanted, upstream)
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a, e, atol=1e-9, rtol=1e-9)


def test_an_extent_keeps_the_pixels_where_they_are() -> None:
    """6 x 5 of 8 x 8 feature pixels at 2 each are the top left of the whole, up to the border's halo."""
    renderer, features = _renderer(), torch.randn(1, 5, 8, 8, dtype=torch.float64)
    part, whole = renderer(features, (24, 20), extent=(6, 5)), renderer(features, (32, 32))
    inner = slice(0, 24 - HALO), slice(0, 20 - HALO)
    torch.testing.assert_close(part[:, :, *inner], whole[:, :, *inner], atol=1e-12, rtol=0)


def test_impossible_requests_are_named_as_by_the_other_renderer() -> None:
    renderer, features = _renderer(), torch.randn(1, 5, 4, 4, dtype=torch.float64)
    with pytest.raises(InputError, match=r"found \(0, 5\)"):
        renderer(features, (4, 4), (0, 5))
    with pytest.raises(InputError, match="extent"):
        renderer(features, (4, 4), None, (9.0, 4.0))
    with pytest.raises(ConfigError, match="channels must be greater than or equal to 1"):
        check(RendererConfig(kind="conv", channels=0))


def test_a_neural_decoder_has_the_renderer_that_its_config_names() -> None:
    small = AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, latent_channels=2, mid_attention=False)
    decoder = NeuralDecoder(small, RendererConfig(kind="conv", channels=8))
    decoder.init_from(Autoencoder(small))
    assert isinstance(decoder.renderer, ConvRenderer)
    z = torch.randn(1, 2, 5, 4)
    whole = decoder(z, (19, 13))
    assert whole.shape == (1, 3, 19, 13)
    part = decoder.render(decoder.features(z), (19, 13), rows=(7, 12))
    torch.testing.assert_close(part, whole[:, :, 7:12], atol=1e-5, rtol=0)
