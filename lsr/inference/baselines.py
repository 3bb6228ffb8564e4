"""The comparators at work: one image, any sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never, cast

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.prediction import to_x0
from lsr.diffusion.samplers import sample
from lsr.inference.render import PIXELS_AT_ONCE, to_float
from lsr.inference.request import Image, Size
from lsr.models.baselines.config import BaselineConfig, EdsrConfig, EsrganConfig, IdmConfig, LiifConfig, Sr3Config
from lsr.models.baselines.idm import Idm
from lsr.models.baselines.liif import Liif
from lsr.models.baselines.sr3 import Sr3
from lsr.nn.random import normal
from lsr.nn.units import to_bytes


@dataclass(frozen=True, slots=True)
class Comparator:
    """A comparator's network, of `lsr.models.baselines.build` or `load`, and the config that it was built by."""

    network: nn.Module
    config: BaselineConfig


def answer(comparator: Comparator, image: Image, sizes: Sequence[Size], sampler: SamplerConfig) -> list[Image]:
    """One LR image uint8 [h, w, 3] at several sizes (H, W), any aspect ratios.

    EDSR and ESRGAN have one factor: any other size is Pillow's antialiased bicubic of their 8-bit output. LIIF renders
    every size from one feature map. SR3 and IDM sample every size by itself, by `sampler`, from noise that follows from
    its seed and the size alone; the other three do not use it.
    """
    network = comparator.network
    lr = to_float(image[None], next(network.parameters()).device)
    match comparator.config:
        case EdsrConfig() | EsrganConfig():
            return _fixed_factor(network, lr, sizes)
        case LiifConfig():
            return _rendered(cast(Liif, network), lr, sizes)
        case Sr3Config() | IdmConfig():
            diffusion = cast(Sr3 | Idm, network)
            return [_to_image(sampled(diffusion, lr, size, sampler)) for size in sizes]
    assert_never(comparator.config)


@torch.no_grad()
def sampled(model: Sr3 | Idm, lr: Tensor, size: Size, sampler: SamplerConfig) -> Tensor:
    """LR [B, 3, h, w] in [-1, 1] -> images [B, 3, *size] in [-1, 1], each drawn as if alone from the sampler's seed.

    Estimates of x0 are kept within [-1, 1], as the published ancestral sampler does.
    """
    denoise = _denoiser(model, lr, size)
    noise = normal([derive_seed(sampler.seed, "baselines", "noise")] * len(lr), (3, *size), lr.device)
    draws = [derive_seed(sampler.seed, "baselines", "sampler")] * len(lr)
    return sample(sampler, denoise, model.schedule, noise, draws)


def _denoiser(model: Sr3 | Idm, lr: Tensor, size: Size) -> Callable[[Tensor, Tensor], Tensor]:
    steer = model.guide(lr, size) if isinstance(model, Idm) else model.condition(lr, size)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        abar = model.schedule.abar(t)
        output = model(x_t, abar.sqrt(), steer)
        return to_x0(model.config.diffusion.prediction, output, x_t, abar).clamp(-1, 1)

    return denoise


@torch.no_grad()
def _fixed_factor(model: nn.Module, lr: Tensor, sizes: Sequence[Size]) -> list[Image]:
    output = _to_image(model(lr))
    image = Pillow.fromarray(output)
    bicubic = Pillow.Resampling.BICUBIC
    return [
        output if size == output.shape[:2] else np.asarray(image.resize((size[1], size[0]), bicubic)) for size in sizes
    ]


@torch.no_grad()
def _rendered(model: Liif, lr: Tensor, sizes: Sequence[Size]) -> list[Image]:
    """In bands of rows, so that besides the result memory is bounded."""
    features = model.features(lr)
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
