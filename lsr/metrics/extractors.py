"""Named feature extractors for distribution distances. Weights are made by `lsr data get extractors`.

A distance says which of them it was taken with: values of two extractors have nothing to do with each other, and
neither is the Inception network that the name FID stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.metrics.lpips import VGG
from lsr.metrics.mobilenet import MobileNetV2
from lsr.metrics.weights import fill, read_weights

ExtractorName = Literal["mobilenetv2", "vgg16"]
Extractor = Callable[[Tensor], Tensor]
"""[B, 3, H, W] in [0, 1], sides of at least 32 -> [B, d]."""

MIN_SIDE = 32


class Vgg16(nn.Module):
    """[B, 3, H, W] in [0, 1] -> [B, 512]: relu5_3 of VGG16 (Simonyan and Zisserman 2015), averaged over its pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *(layer.channels for layer in VGG))
        self.conv = nn.ModuleList(nn.Conv2d(c, layer.channels, 3, 1, 1) for c, layer in zip(inputs, VGG))
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        x = (images.float() - self.mean) / self.std
        for layer, conv in zip(VGG, self.conv):
            x = F.relu(conv(F.max_pool2d(x, 2) if layer.pool else x))
        return x.mean((2, 3))


BUILDERS: dict[ExtractorName, Callable[[], nn.Module]] = {"mobilenetv2": MobileNetV2, "vgg16": Vgg16}


def build_extractor(path: Path, name: ExtractorName) -> nn.Module:
    """The extractor from its safetensors. Raises IntegrityError when the file is not sound or not of this network."""
    module = BUILDERS[name]()
    fill(module, read_weights(path, "extractors")[1], path, name)
    return module


def find_extractors(cache: Path) -> dict[ExtractorName, nn.Module]:
    """The extractors whose weights were fetched into `cache` (`lsr data get extractors`), by name; {} for none."""
    found: dict[ExtractorName, nn.Module] = {}
    for name in get_args(ExtractorName):
        path = cache / "sets" / "extractors" / f"{name}.safetensors"
        if path.is_file():
            found[name] = build_extractor(path, name)
    return found


@torch.no_grad()
def extract(extractor: Extractor, images: Iterable[npt.NDArray[np.uint8]], batch: int = 16) -> npt.NDArray[np.float64]:
    """Features [n, d] of uint8 images [H, W, 3] of one size, in their order.

    Raises InputError without images, for images of unequal sizes and below 32 x 32 pixels.
    """
    everything = list(images)
    shapes = {image.shape for image in everything}
    if len(shapes) != 1 or min(next(iter(shapes))[:2]) < MIN_SIDE:
        raise InputError(
            f"Features need images of one size of at least {MIN_SIDE} x {MIN_SIDE} pixels, found {sorted(shapes)}."
        )
    out = []
    for start in range(0, len(everything), batch):
        pixels = torch.from_numpy(np.stack(everything[start : start + batch])).permute(0, 3, 1, 2).float() / 255
        out.append(extractor(pixels).double().numpy())
    return np.concatenate(out)
