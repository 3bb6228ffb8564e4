"""Image metrics: pure functions of tensors. Imports torch, safetensors and lsr.core only.

Everywhere: images are [B, 3, H, W] float in [0, 1], the answer is [B], one number an image; nothing is pooled over the
batch, cropped or turned to luma.
"""

from lsr.metrics.fidelity import psnr, ssim
from lsr.metrics.lpips import Lpips, build_lpips, find_lpips

__all__ = ["Lpips", "build_lpips", "find_lpips", "psnr", "ssim"]
