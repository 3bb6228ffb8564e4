"""The renderer is LIIF: compared with a naive implementation on grid_sample, in float64."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsr.core.errors import InputError
from lsr.models import renderer as module
from lsr.models.config import RendererConfig
from lsr.models.renderer import Renderer

EPS = 1e-6


def _centres(height: int, width: int) -> Tensor:
    """LIIF's pixel-centre coordinates (y, x) in [-1, 1]: [height * width, 2]."""
    axes = [-1 + 1 / n + 2 / n * torch.arange(n, dtype=torch.float64) for n in (height, width)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)


def _mlp(renderer: Renderer, inputs: Tensor) -> Tensor:
    h = renderer.first(inputs)
    for layer in renderer.rest:
        h = layer(F.relu(h))
    return h


def naive_liif(renderer: Renderer, features: Tensor, size: tuple[int, int]) -> Tensor:
    """One query at a time in the paper's words: shift, clamp, nearest sample, concatenate, MLP, swap areas, blend."""
    b, h, w = len(features), *features.shape[-2:]
    coord = _centres(*size)[None].expand(b, -1, -1)
    feature_coord = _centres(h, w).T.reshape(1, 2, h, w).expand(b, -1, -1, -1)
    scale = torch.tensor([h, w], dtype=torch.float64)
    shifts = list(product((-1, 1), repeat=2)) if renderer.config.local_ensemble else [(0, 0)]
    colours, areas = [], []
    for shift in shifts:
        eps = EPS if renderer.config.local_ensemble else 0
        moved = (coord + torch.tensor(shift, dtype=torch.float64) / scale + eps).clamp(-1 + EPS, 1 - EPS)
        grid = moved.flip(-1).unsqueeze(1)
        take = [F.grid_sample(m, grid, mode="nearest", align_corners=False)[:, :, 0] for m in (features, feature_coord)]
        relative = (coord - take[1].mT) * scale
        inputs = [take[0].mT, relative]
        if renderer.config.cell_decoding:
            inputs.append((2 / torch.tensor(size, dtype=torch.float64) * scale).expand(b, coord.shape[1], 2))
        colours.append(_mlp(renderer, torch.cat(inputs, dim=-1)))
        areas.append((relative[..., 0] * relative[..., 1]).abs() + 1e-9)
    if len(areas) == 4:
        areas = [areas[i] for i in (3, 2, 1, 0)]
    blended = sum(colour * (area / sum(areas))[..., None] for colour, area in zip(colours, areas))
    return blended.mT.reshape(b, 3, *size)


def _renderer(**config: bool) -> Renderer:
    return Renderer(5, RendererConfig(hidden=(7, 6), **config)).double()


side = st.integers(1, 9)
output = st.integers(1, 33)


@settings(max_examples=60)
@given(h=side, w=side, height=output, width=output, cell=st.booleans())
def test_equals_naive_liif_at_any_sizes(h: int, w: int, height: int, width: int, cell: bool) -> None:
    """Non-square maps and outputs, enlarging and reducing, borders included."""
    torch.manual_seed(h * w + height * width)
    renderer = _renderer(cell_decoding=cell)
    features = torch.randn(2, 5, h, w, dtype=torch.float64)
    expected = naive_liif(renderer, features, (height, width))
    torch.testing.assert_close(renderer(features, (height, width)), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [(4, 5), (8, 11), (16, 7), (12, 2)])
def test_equals_naive_liif_without_the_local_ensemble(size: tuple[int, int]) -> None:
    """At sizes where no pixel centre lies exactly between two feature pixels."""
    renderer = _renderer(local_ensemble=False)
    features = torch.randn(2, 5, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(renderer(features, size), naive_liif(renderer, features, size), atol=1e-8, rtol=0)


def test_gradients_equal_those_of_naive_liif() -> None:
    """For features and every weight, so that training is the same too."""
    renderer = _renderer()
    features = torch.randn(2, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    wanted = [features, *renderer.parameters()]
    upstream = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    expected = torch.autograd.grad(naive_liif(renderer, features, (7, 10)), wanted, upstream)
    actual = torch.autograd.grad(renderer(features, (7, 10)), wanted, upstream)
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a, e, atol=1e-6, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gradients_are_the_same_bits_every_time() -> None:
    """Many queries share a feature pixel; adding them by atomics would give another sum in every run."""
    renderer = Renderer(8, RendererConfig(hidden=(16, 16))).cuda()
    features = torch.randn(4, 8, 16, 16, device="cuda", requires_grad=True)
    wanted = [features, *renderer.parameters()]
    first = torch.autograd.grad(renderer(features, (200, 150)).square().sum(), wanted)
    for _ in range(5):
        again = torch.autograd.grad(renderer(features, (200, 150)).square().sum(), wanted)
        assert all(torch.equal(a, b) for a, b in zip(first, again))


def test_gradcheck() -> None:
    renderer = Renderer(2, RendererConfig(hidden=(3,))).double()
    features = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: renderer(f, (3, 4)), (features,))


@settings(max_examples=30)
@given(data=st.data(), height=st.integers(2, 20), width=st.integers(1, 20))
def test_a_band_of_rows_is_cut_from_the_whole_image(data: st.DataObject, height: int, width: int) -> None:
    """Streaming decode: rows keep the full image's coordinates and cell."""
    start = data.draw(st.integers(0, height - 1))
    stop = data.draw(st.integers(start + 1, height))
    renderer, features = _renderer(), torch.randn(1, 5, 4, 6, dtype=torch.float64)
    whole = renderer(features, (height, width))
    torch.testing.assert_close(renderer(features, (height, width), (start, stop)), whole[:, :, start:stop])


def test_it_renders_a_bounded_number_of_queries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, features = _renderer(), torch.randn(2, 5, 4, 6, dtype=torch.float64)
    whole = renderer(features, (17, 10)).detach()
    monkeypatch.setitem(module.QUERIES_AT_ONCE, "cpu", 60)
    seen = []
    renderer.rest[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[:-1].numel()))
    with torch.no_grad():
        torch.testing.assert_close(renderer(features, (17, 10)), whole)
    assert max(seen) == 60


def test_an_extent_covers_the_top_left_of_the_map() -> None:
    """6 x 5 of 8 x 8 feature pixels at 2 pixels each are the top left 12 x 10 of the whole 16 x 16 render."""
    renderer, features = _renderer(), torch.randn(1, 5, 8, 8, dtype=torch.float64)
    part = renderer(features, (12, 10), extent=(6, 5))
    torch.testing.assert_close(part, renderer(features, (16, 16))[:, :, :12, :10])


def test_a_fractional_extent_keeps_the_pixels_where_they_are() -> None:
    """10.5 of 16 feature rows at 42 rows is 4 pixels a feature row, exactly as 64 rows of all 16."""
    renderer, features = _renderer(), torch.randn(1, 5, 16, 4, dtype=torch.float64)
    part = renderer(features, (42, 8), extent=(10.5, 4))
    torch.testing.assert_close(part, renderer(features, (64, 8))[:, :, :42])


def test_autocast_stays_close_to_single_precision() -> None:
    """bfloat16 rounds hidden activations; pixels keep their place and the blend stays in float32."""
    renderer, features = Renderer(4, RendererConfig(hidden=(16, 16))), torch.randn(1, 4, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        under = renderer(features, (9, 13))
    assert under.dtype == torch.float32
    torch.testing.assert_close(under, renderer(features, (9, 13)), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("size", "rows", "extent", "named"),
    [
        ((0, 4), None, None, "0 <= start < stop"),
        ((4, 0), None, None, "non-empty|0 <= start"),
        ((4, 4), (2, 2), None, r"found \(2, 2\)"),
        ((4, 4), (0, 5), None, r"found \(0, 5\)"),
        ((4, 4), None, (9.0, 4.0), "extent"),
        ((4, 4), None, (0.0, 4.0), "extent"),
    ],
)
def test_impossible_requests_are_named(
    size: tuple[int, int], rows: tuple[int, int] | None, extent: tuple[float, float] | None, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        _renderer()(torch.randn(1, 5, 4, 4, dtype=torch.float64), size, rows, extent)
