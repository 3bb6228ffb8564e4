"""`resize` is Pillow's float resampling, made differentiable, deterministic and cheap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from lsr.core.errors import InputError
from lsr.nn.resize import Kind, resize, resize_matrix, source_rows

PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
KINDS = sorted(PILLOW)
side = st.integers(1, 40)


def _has_tie(source: int, target: int) -> bool:
    """Whether the centre of some output pixel lies exactly between two input pixels."""
    return any((2 * i + 1) * source % (2 * target) == 0 for i in range(target))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(height=side, width=side, rows=side, columns=side)
def test_equals_pillow_on_float_images(kind: Kind, height: int, width: int, rows: int, columns: int) -> None:
    """For any pair of non-square sizes, up and down, to 1e-5 of an image in [-1, 1].

    Nearest at a tie is left out: there Pillow's accumulated rounding decides.
    """
    assume(kind != "nearest" or not (_has_tie(height, rows) or _has_tie(width, columns)))
    image = np.random.default_rng(height * 41 + width).uniform(-1, 1, (height, width)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize((columns, rows), PILLOW[kind]))
    actual = resize(torch.from_numpy(image)[None, None], (rows, columns), kind)[0, 0]
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "mode"), [("bicubic", "bicubic"), ("bilinear", "bilinear")])
@pytest.mark.parametrize("size", [(9, 31), (17, 11), (50, 60), (24, 24)])
def test_equals_torch_antialiased_interpolate(kind: Kind, mode: str, size: tuple[int, int]) -> None:
    """torch's antialias=True uses the same a = -0.5 kernel, so there is a second witness (batched, 3 channels)."""
    x = torch.rand(2, 3, 24, 40, dtype=torch.float64)
    expected = F.interpolate(x, size, mode=mode, antialias=True, align_corners=False)
    torch.testing.assert_close(resize(x, size, kind), expected, atol=1e-6, rtol=0)


def test_area_is_the_mean_of_blocks_at_integer_factors() -> None:
    x = torch.rand(1, 3, 12, 20, dtype=torch.float64)
    torch.testing.assert_close(resize(x, (3, 5), "area"), F.avg_pool2d(x, 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("source", "target"), [(7, 7), (5, 13), (64, 9), (1, 6), (6, 1)])
def test_every_output_pixel_is_a_weighted_mean(kind: Kind, source: int, target: int) -> None:
    """Rows of the matrix sum to one, so a constant image stays that constant; an equal size changes nothing."""
    matrix = resize_matrix(source, target, kind)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(target, dtype=torch.float64))
    if source == target:
        torch.testing.assert_close(matrix, torch.eye(source, dtype=torch.float64))


def test_gradient_is_the_transposed_resize() -> None:
    x = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, (3, 9), "bicubic"), (x,))


def test_autocast_does_not_round_a_resize() -> None:
    """Training targets are made under autocast; in bfloat16 they would lose all but 8 bits."""
    x = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        under = resize(x, (7, 9))
    assert under.dtype == torch.float32
    assert torch.equal(under, resize(x, (7, 9)))


def test_large_images_take_the_same_kernel() -> None:
    """Above a size matrices are not cached; the result must not depend on that."""
    x = torch.rand(1, 1, 3, 1500, dtype=torch.float64)
    torch.testing.assert_close(resize(x, (3, 900)), x @ resize_matrix(1500, 900, "bicubic").T)


@pytest.mark.parametrize(
    ("image", "size", "kind", "named"),
    [
        (torch.rand(1, 3, 4, 4), (0, 4), "bicubic", "at least 1"),
        (torch.rand(1, 3, 0, 4), (4, 4), "bicubic", "at least 1"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), (2, 2), "bicubic", "uint8"),
        (torch.rand(1, 3, 4, 4), (2, 2), "lanczos", "lanczos"),
    ],
)
def test_impossible_requests_are_named(image: torch.Tensor, size: tuple[int, int], kind: Kind, named: str) -> None:
    with pytest.raises(InputError, match=named):
        resize(image, size, kind)


@pytest.mark.parametrize("kind", KINDS)
@given(source=side, target=side, data=st.data())
def test_some_rows_are_those_rows_of_the_whole(kind: Kind, source: int, target: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, target - 1))
    stop = data.draw(st.integers(start + 1, target))
    image = torch.from_numpy(np.random.default_rng(source).uniform(-1, 1, (2, source, 5)))
    whole = resize(image, (target, 7), kind)
    torch.testing.assert_close(resize(image, (target, 7), kind, rows=(start, stop)), whole[:, start:stop])
    low, high = source_rows(source, target, kind, (start, stop))
    part = resize(image[:, low:high], (target, 7), kind, rows=(start, stop), part=(low, source))
    torch.testing.assert_close(part, whole[:, start:stop])
