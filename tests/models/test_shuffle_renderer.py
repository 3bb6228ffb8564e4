"""The sub-pixel renderer against Pillow and torch's own layers, and its rows against the whole image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from lsr.core.errors import InputError
from lsr.models.config import RendererConfig
from lsr.models.shuffle_renderer import ShuffleRenderer


def renderer(factor: int) -> ShuffleRenderer:
    torch.manual_seed(1)
    made = ShuffleRenderer(5, RendererConfig(kind="shuffle", factor=factor)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    return made


def whole_at_factor(module: ShuffleRenderer, features: Tensor) -> Tensor:
    convolved = F.conv2d(features, module.last.weight, module.last.bias, padding=1)
    b, _, h, w = convolved.shape
    r = module.config.factor
    return convolved.reshape(b, 3, r, r, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, 3, r * h, r * w)


def by_pillow(image: Tensor, size: tuple[int, int]) -> np.ndarray:
    planes = [Image.fromarray(plane.numpy().astype(np.float32)) for plane in image]
    return np.stack([np.asarray(p.resize((size[1], size[0]), Image.Resampling.BICUBIC)) for p in planes])


@pytest.mark.parametrize("size", [(28, 36), (14, 18), (50, 41), (9, 70)])
def test_an_output_is_the_image_at_the_factor_as_pillow_resizes_it(size: tuple[int, int]) -> None:
    module, features = renderer(4), torch.randn(2, 5, 7, 9, dtype=torch.float64)
    with torch.no_grad():
        made, whole = module(features, size), whole_at_factor(module, features)
    for one, truth in zip(made, whole, strict=True):
        np.testing.assert_allclose(one.numpy(), by_pillow(truth, size), atol=2e-5)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_the_whole(data: st.DataObject) -> None:
    height, width, factor = (data.draw(st.integers(1, n)) for n in (9, 6, 4))
    size = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 20))
    start = data.draw(st.integers(0, size[0] - 1))
    stop = data.draw(st.integers(start + 1, size[0]))
    module, features = renderer(factor), torch.randn(1, 5, height, width, dtype=torch.float64)
    extent = (data.draw(st.floats(0.3, 1)) * height, float(width))
    with torch.no_grad():
        whole = module(features, size, extent=extent)
        band = module(features, size, (start, stop), extent)
    torch.testing.assert_close(band, whole[:, :, start:stop], atol=1e-9, rtol=0)


def test_an_extent_is_the_crop_at_the_factor() -> None:
    module, features = renderer(4), torch.randn(1, 5, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        made, whole = module(features, (20, 28), extent=(5.0, 7.0)), whole_at_factor(module, features)
    torch.testing.assert_close(made, whole[..., :20, :28])


def test_it_starts_at_zero_and_rejects_impossible_rows() -> None:
    module = ShuffleRenderer(5, RendererConfig(kind="shuffle"))
    assert module(torch.randn(1, 5, 4, 4), (9, 9)).abs().max() == 0
    with pytest.raises(InputError, match="Rows"):
        module(torch.randn(1, 5, 4, 4), (9, 9), rows=(4, 10))
