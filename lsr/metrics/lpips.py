"""LPIPS v0.1 (Zhang et al. 2018): the distance between two images in the features of an image classifier.

The networks are plain stacks of convolutions; weights come as safetensors, made by `lsr data get lpips`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.core.errors import IntegrityError
from lsr.metrics.checks import check_pair
from lsr.metrics.weights import fill, read_weights

Net = Literal["alex", "vgg"]

MIN_SIDE = 32
"""AlexNet's last pooling needs 31 pixels; one rule for both networks."""


class Conv(NamedTuple):
    """One convolution with ReLU. pool: max-pooling window before it (stride 2), 0 for none. tap: compared after it."""

    channels: int
    kernel: int
    stride: int
    padding: int
    pool: int
    tap: bool


def _three(channels: int, pool: int = 0, tap: bool = False) -> Conv:
    return Conv(channels, 3, 1, 1, pool, tap)


ALEX = (
    Conv(64, 11, 4, 2, 0, True),
    Conv(192, 5, 1, 2, 3, True),
    _three(384, pool=3, tap=True),
    _three(256, tap=True),
    _three(256, tap=True),
)
VGG = (
    *(_three(64), _three(64, tap=True)),
    *(_three(128, pool=2), _three(128, tap=True)),
    *(_three(256, pool=2), _three(256), _three(256, tap=True)),
    *(_three(512, pool=2), _three(512), _three(512, tap=True)),
    *(_three(512, pool=2), _three(512), _three(512, tap=True)),
)
LAYERS: dict[Net, tuple[Conv, ...]] = {"alex": ALEX, "vgg": VGG}


class Head(nn.Module):
    """How much each channel of one tap counts: weight [C], not negative."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))


class Lpips(nn.Module):
    """LPIPS with the weights of `net`. [B, 3, H, W] in [0, 1] twice -> [B] float32; 0 for equal images.

    The weights are frozen, gradients flow to the images. Values of `alex` and `vgg` are not comparable. Raises
    InputError below 32 x 32 pixels: enlarging a smaller image first would be another metric.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net, self.layers = net, LAYERS[net]
        inputs = (3, *(layer.channels for layer in self.layers))
        self.conv = nn.ModuleList(
            nn.Conv2d(c, layer.channels, layer.kernel, layer.stride, layer.padding)
            for c, layer in zip(inputs, self.layers)
        )
        self.lin = nn.ModuleList(Head(layer.channels) for layer in self.layers if layer.tap)
        # The authors' constants for images in [-1, 1].
        for name, values in (("mean", (-0.030, -0.088, -0.188)), ("scale", (0.458, 0.448, 0.450))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [0, 1] -> five maps [B, C, h, w], each of unit length over the channels at every pixel."""
        x, taps = (images.float() * 2 - 1 - self.mean) / self.scale, []
        for layer, conv in zip(self.layers, self.conv):
            x = F.max_pool2d(x, layer.pool, 2) if layer.pool else x
            x = F.relu(conv(x))
            if layer.tap:
                # The authors add 1e-10 to the length; inside the root it also keeps the gradient of dead pixels finite.
                taps.append(x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-20))
        return taps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each image of `a` to its partner in `b` (eq. 1): [B]."""
        check_pair(f"LPIPS-{self.net}", a, b, MIN_SIDE)
        pairs = zip(self.features(a), self.features(b), self.lin)
        terms = [torch.einsum("bchw,c->bhw", (x - y).square(), head.weight).mean((1, 2)) for x, y, head in pairs]
        return torch.stack(terms).sum(0)


def build_lpips(path: Path) -> Lpips:
    """The metric from `lpips-alex.safetensors` or `lpips-vgg.safetensors`.

    Raises IntegrityError when the file is not sound or holds other tensors than the network has.
    """
    metadata, tensors = read_weights(path, "lpips")
    net = metadata.get("net")
    if net not in LAYERS:
        raise IntegrityError(f"{path} must say net alex or vgg in its metadata, found {net!r}.")
    metric = Lpips(net)
    fill(metric, tensors, path, f"LPIPS-{net}")
    return metric


def find_lpips(cache: Path, net: Net = "alex") -> Lpips | None:
    """The metric if its weights were fetched into `cache` (`lsr data get lpips`), else None."""
    path = cache / "sets" / "lpips" / f"lpips-{net}.safetensors"
    return build_lpips(path) if path.is_file() else None
