"""The comparators at work: one picture, any sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.prediction import to_x0
from lsr.diffusion.samplers import sample
from lsr.inference.render import PIXELS_AT_ONCE, check_size, to_float
from lsr.models.baselines.config import BaselineConfig, EdsrConfig, EsrganConfig, IdmConfig, LiifConfig, Sr3Config
from lsr.models.baselines.idm import Idm
from lsr.models.baselines.liif import Liif
from lsr.models.baselines.sr3 import Sr3
from lsr.nn.random import normal
from lsr.nn.units import to_bytes

Image = NDArray[np.uint8]
Size = tuple[int, int]
Answer = Callable[[Image, Sequence[Size]], list[Image]]
"""From LR uint8 [h, w, 3] and output sizes (H, W): one uint8 picture [H, W, 3] a size."""


def upscaler(
    model: nn.Module,
    config: BaselineConfig,
    *,
    sampler: SamplerConfig = SamplerConfig(),
) -> Answer:
    """What an evaluation asks: any sizes and aspect ratios of one LR picture.

    model: of `lsr.models.baselines.build` or `load`; it is left in eval mode. EDSR and ESRGAN have one factor: any
    other size is Pillow's antialiased bicubic of their 8-bit output. LIIF renders every size from one feature map. SR3
    and IDM sample every size by itself, by `sampler`, from noise that follows from its seed and size alone;
    the other three do not use it. The answer raises InputError for what is no picture or no size.
    """
    model.eval()
    match config:
        case EdsrConfig() | EsrganConfig():
            return lambda lr, sizes: _fixed_factor(model, lr, sizes)
        case LiifConfig():
            return lambda lr, sizes: _rendered(cast(Liif, model), lr, sizes)
        case Sr3Config() | IdmConfig():

            def answer(lr: Image, sizes: Sequence[Size]) -> list[Image]:
                x = _checked(model, lr, sizes)
                network = cast(Sr3 | Idm, model)
                made = (sampled(network, x, size, [sampler.seed], sampler) for size in sizes)
                return [_to_image(one) for one in made]

            return answer
    assert_never(config)


@torch.no_grad()
def sampled(
    model: Sr3 | Idm,
    lr: Tensor,
    size: Size,
    seeds: Sequence[int],
    sampler: SamplerConfig,
) -> Tensor:
    """LR [B, 3, h, w] in [-1, 1], one seed a picture -> pictures [B, 3, *size] in [-1, 1].

    Estimates of x0 are kept within [-1, 1], as the published ancestral sampler does. A picture does not depend on the
    batch it is sampled in, but for rounding.
    """
    denoise = _denoiser(model, lr, size)
    noise = normal([derive_seed(seed, "baselines", "noise") for seed in seeds], (3, *size), lr.device)
    draws = [derive_seed(seed, "baselines", "sampler") for seed in seeds]
    return sample(sampler, denoise, model.schedule, noise, draws)


def _denoiser(model: Sr3 | Idm, lr: Tensor, size: Size) -> Callable[[Tensor, Tensor], Tensor]:
    steer = model.guide(lr, size) if isinstance(model, Idm) else model.condition(lr, size)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        abar = model.schedule.abar(t)
        output = model(x_t, abar.sqrt(), steer)
        return to_x0(model.config.diffusion.prediction, output, x_t, abar).clamp(-1, 1)

    return denoise


@torch.no_grad()
def _fixed_factor(model: nn.Module, lr: Image, sizes: Sequence[Size]) -> list[Image]:
    output = _to_image(model(_checked(model, lr, sizes)))
    picture = Pillow.fromarray(output)
    bicubic = Pillow.Resampling.BICUBIC
    return [
        output if size == output.shape[:2] else np.asarray(picture.resize((size[1], size[0]), bicubic))
        for size in sizes
    ]


@torch.no_grad()
def _rendered(model: Liif, lr: Image, sizes: Sequence[Size]) -> list[Image]:
    """In bands of rows, so that besides the result memory is bounded."""
    features = model.features(_checked(model, lr, sizes))
    out = []
    for size in sizes:
        band = max(1, PIXELS_AT_ONCE // size[1])
        starts = range(0, size[0], band)
        bands = [_to_image(model.render(features, size, (i, min(i + band, size[0])))) for i in starts]
        out.append(np.concatenate(bands))
    return out


def _to_image(x: Tensor) -> Image:
    """[1, 3, H, W] in [-1, 1], clamped -> uint8 [H, W, 3]."""
    image: Image = to_bytes(x[0]).permute(1, 2, 0).contiguous().cpu().numpy()
    return image


def _checked(model: nn.Module, lr: Image, sizes: Sequence[Size]) -> Tensor:
    """LR as [1, 3, h, w] in [-1, 1] on the model's device."""
    if not isinstance(lr, np.ndarray) or lr.dtype != np.uint8 or lr.ndim != 3 or lr.shape[2] != 3 or not lr.size:
        found = f"{lr.dtype} {lr.shape}" if isinstance(lr, np.ndarray) else type(lr).__name__
        raise InputError(f"A picture must be uint8 [height, width, 3] with sides of at least 1, found {found}.")
    for size in sizes:
        check_size(size)
    return to_float(lr[None], next(model.parameters()).device)
