"""Image metrics: pure functions of tensors, and distances between sets of images as pure functions of features.

Of one image: images are [B, 3, H, W] float in [0, 1], the answer is [B], one number an image; nothing is pooled over
the batch, cropped or turned to luma.
"""

from lsr.metrics.dists import Dists, find_dists
from lsr.metrics.fidelity import psnr, ssim
from lsr.metrics.lpips import Lpips, build_lpips, find_lpips

__all__ = ["Dists", "Lpips", "build_lpips", "find_dists", "find_lpips", "psnr", "ssim"]
