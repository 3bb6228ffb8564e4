"""PSNR and SSIM: what they promise, and that two other libraries get the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from lsr.core.errors import InputError
from lsr.metrics import psnr, ssim


def images(seed: int, batch: int = 3, height: int = 24, width: int = 37) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images and noisy copies of them, float64 in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 5, 7, generator=generator, dtype=torch.float64)
    clean = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return clean, noisy.clamp(0, 1)


def test_psnr_is_ten_log_of_one_over_the_mean_squared_error() -> None:
    black, grey = torch.zeros(1, 3, 4, 5), torch.full((1, 3, 4, 5), 0.1)
    assert psnr(black, grey).item() == pytest.approx(20.0, abs=1e-5)


def test_psnr_agrees_with_scikit_image() -> None:
    a, b = images(0)
    expected = [peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1) for x, y in zip(a, b)]
    np.testing.assert_allclose(psnr(a, b).numpy(), expected, atol=1e-9)


def test_psnr_of_equal_images_is_infinite() -> None:
    a, _ = images(1)
    assert torch.isinf(psnr(a, a)).all()


def test_ssim_agrees_with_scikit_image_to_1e_9() -> None:
    a, b = images(2)
    options = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "sigma": 1.5}
    expected = [
        structural_similarity(x.numpy(), y.numpy(), use_sample_covariance=False, **options) for x, y in zip(a, b)
    ]
    np.testing.assert_allclose(ssim(a, b).numpy(), expected, atol=1e-9)


def test_ssim_agrees_with_the_inside_of_torchmetrics_map_to_1e_9() -> None:
    """torchmetrics averages windows on reflected borders too; without those 5 pixels a side its numbers are ours."""
    a, b = images(3)
    _, full = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", return_full_image=True)
    expected = full[..., 5:-5, 5:-5].flatten(1).mean(1)
    np.testing.assert_allclose(ssim(a, b).numpy(), expected.numpy(), atol=1e-9)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_single_precision_input_loses_nothing_that_matters(metric) -> None:
    """The arithmetic is float64 whatever comes in: SSIM's variances are small differences of large numbers."""
    a, b = images(4)
    a, b = 0.999 + a * 1e-3, 0.999 + b * 1e-3
    exact = metric(a.float().double(), b.float().double())
    torch.testing.assert_close(metric(a.float(), b.float()), exact, atol=1e-12, rtol=0)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), height=st.integers(11, 20), width=st.integers(11, 20))
def test_both_are_symmetric_and_judge_every_image_alone(seed: int, height: int, width: int) -> None:
    a, b = images(seed, 2, height, width)
    for metric in (psnr, ssim):
        both = metric(a, b)
        assert both.shape == (2,)
        torch.testing.assert_close(both, metric(b, a))
        torch.testing.assert_close(both, torch.cat([metric(a[:1], b[:1]), metric(a[1:], b[1:])]))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_ssim_is_one_for_equal_images_and_less_otherwise(seed: int) -> None:
    a, b = images(seed, 1, 16, 16)
    assert ssim(a, a).item() == pytest.approx(1.0, abs=1e-12)
    assert -1.0 <= ssim(a, b).item() < 1.0 - 1e-6


def test_more_noise_is_worse() -> None:
    a, b = images(5)
    worse = a + 2 * (b - a)
    assert (psnr(a, worse) < psnr(a, b)).all()
    assert math.isclose((psnr(a, b) - psnr(a, worse)).mean().item(), 20 * math.log10(2), abs_tol=1e-6)
    assert (ssim(a, worse) < ssim(a, b)).all()


def test_ssim_rejects_images_smaller_than_its_window() -> None:
    a, b = images(6, 1, 10, 40)
    with pytest.raises(InputError, match=r"at least 11 x 11 pixels, found 10 x 40"):
        ssim(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17)),
        (torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)),
        (torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)),
    ],
)
def test_shapes_must_be_equal_batches_of_colour_images(a: torch.Tensor, b: torch.Tensor) -> None:
    for metric in (psnr, ssim):
        with pytest.raises(InputError, match=r"one shape \[B, 3, H, W\]"):
            metric(a, b)


def test_eight_bit_images_are_rejected_rather_than_scored_on_the_wrong_scale() -> None:
    image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(InputError, match="divide 8-bit images by 255"):
        psnr(image, image)
