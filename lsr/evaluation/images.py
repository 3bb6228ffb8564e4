"""Images as evaluation handles them: their types, the one resize, and the metrics of two whole images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow

from lsr.evaluation.rows import CEILING_DB
from lsr.metrics import psnr, ssim
from lsr.nn.resize import resize as resize_float

Image: TypeAlias = npt.NDArray[np.uint8]
Exact: TypeAlias = npt.NDArray[np.float32]
"""[H, W, 3] in [0, 1]: an output that was not rounded to 8 bits."""

AnyImage: TypeAlias = Image | Exact
Size = tuple[int, int]
Upscaler = Callable[[Image, Sequence[Size]], Sequence[AnyImage]]
"""From LR [h, w, 3] uint8 and output sizes (H, W): one image a size, all from the same latent. uint8; float32 in
[0, 1] too where the protocol does not round."""

Perceptual = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""LPIPS or DISTS: two [B, 3, H, W] in [0, 1] to [B]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    """One image for people: what went in, what should and what did come out. outputs: by system."""

    photo: str
    crop: int
    scale: float
    lr: Image
    truth: Image
    outputs: Mapping[str, Image]


def resize(image: Image, size: Size) -> Image:
    """`image` [H, W, 3] uint8 at `size` (H, W) by Pillow's bicubic (antialiased when it reduces), rounded to 8 bits."""
    return np.asarray(Pillow.fromarray(image).resize((size[1], size[0]), Pillow.Resampling.BICUBIC), dtype=np.uint8)


def resized(image: AnyImage, size: Size) -> AnyImage:
    """`resize` for either type; a float image stays one, by the same kernel, within [0, 1]."""
    if image.dtype == np.uint8:
        return resize(image.astype(np.uint8, copy=False), size)
    return resize_float(as_batch(image), size)[0].clamp(0, 1).permute(1, 2, 0).numpy()


def rounded(image: AnyImage) -> Image:
    """The image in 8 bits."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return np.asarray(np.rint(image.clip(0, 1) * 255), dtype=np.uint8)


def bicubic(lr: Image, sizes: Sequence[Size]) -> list[Image]:
    """The baseline that every version is shown beside: Pillow's bicubic from LR, in 8 bits under every protocol."""
    return [resize(lr, size) for size in sizes]


def as_batch(image: AnyImage) -> torch.Tensor:
    """[H, W, 3] uint8, or float32 in [0, 1], as [1, 3, H, W] float32 in [0, 1]."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(torch.float32)
    return pixels / 255 if image.dtype == np.uint8 else pixels


def squared_error(a: AnyImage, b: AnyImage) -> float:
    """Mean squared error over pixels and colours, in float64, of values in [0, 1]."""
    return float((as_batch(a).double() - as_batch(b).double()).square().mean())


def decibels(a: AnyImage, b: AnyImage) -> float:
    """PSNR in dB of two images, at most CEILING_DB."""
    return min(float(psnr(as_batch(a), as_batch(b))), CEILING_DB)


def similarity(a: AnyImage, b: AnyImage) -> float:
    """SSIM of two images."""
    return float(ssim(as_batch(a), as_batch(b)))


def size_matrix(images: Sequence[AnyImage]) -> list[dict[str, float]]:
    """SelfSSIM of one image at several sizes: for each of them {`ssim_at_HxW`: similarity there}.

    Entry (image j, size i) is the SSIM of image j, resized (bicubic) to the size of image i, with image i: the
    size compared to is the one in the name, and the matrix is not symmetric (method.md 3.1). 1 at its own size.
    """
    out = []
    for image in images:
        values = {}
        for other in images:
            height, width = other.shape[:2]
            same = image.shape == other.shape
            values[f"ssim_at_{height}x{width}"] = 1.0 if same else similarity(resized(image, (height, width)), other)
        out.append(values)
    return out
