"""PSNR and SSIM, computed in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.metrics.checks import check_pair

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB at peak 1. [B, 3, H, W] in [0, 1] twice -> [B] float64.

    The mean squared error is over all pixels and channels of one image. Equal images give +inf.
    """
    check_pair("PSNR", a, b)
    error = (a.double() - b.double()).square().flatten(1).mean(1)
    return -10 * torch.log10(error)


def _gaussian(device: torch.device) -> Tensor:
    """[11] float64, sums to 1."""
    x = torch.arange(SSIM_WINDOW, dtype=torch.float64, device=device) - (SSIM_WINDOW - 1) / 2
    weights = torch.exp(-x.square() / (2 * SSIM_SIGMA**2))
    return weights / weights.sum()


def _blur(x: Tensor) -> Tensor:
    """[N, 1, H, W] -> [N, 1, H-10, W-10]: weighted means over every window that lies inside the image."""
    weights = _gaussian(x.device)
    return F.conv2d(F.conv2d(x, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13). [B, 3, H, W] in [0, 1] twice -> [B] float64 in [-1, 1].

    Gaussian window of 11 x 11, sigma 1.5, K1 0.01, K2 0.03, data range 1; each channel alone, then the mean over
    channels and over the windows that lie wholly inside the image (as scikit-image does with `gaussian_weights`;
    torchmetrics averages reflected borders too and comes out lower or higher). Raises InputError for sides below 11:
    a smaller window would be another metric under the same name.
    """
    check_pair("SSIM", a, b, SSIM_WINDOW)
    batch, channels, height, width = a.shape
    x, y = (image.double().reshape(batch * channels, 1, height, width) for image in (a, b))
    mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast_structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * contrast_structure).reshape(batch, -1).mean(1)
