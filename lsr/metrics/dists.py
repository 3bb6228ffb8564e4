"""DISTS (Ding et al. 2020): structure and texture similarity in the features of VGG16.

It forgives a texture that is drawn elsewhere and punishes one that is smoothed away. Weights come as safetensors, made
by `lsr data get dists`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.metrics.checks import check_pair
from lsr.metrics.lpips import MIN_SIDE, VGG
from lsr.metrics.weights import fill, read_weights

CHANNELS = (3, *(layer.channels for layer in VGG if layer.tap))
"""Of the image itself and of the five taps."""

C1 = C2 = 1e-6


class Dists(nn.Module):
    """DISTS. [B, 3, H, W] in [0, 1] twice -> [B] float32; 0 for equal images, near 1 for unrelated ones.

    The images are compared at the size they have: the authors' script first reduces the shorter side to 256 pixels,
    so published tables may differ. alpha and beta [1475] are the weights of texture and structure of every channel.
    The weights are frozen, gradients flow to the images. Raises InputError below 32 x 32 pixels.
    """

    mean: Tensor
    std: Tensor
    hann: Tensor

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *(layer.channels for layer in VGG))
        self.conv = nn.ModuleList(nn.Conv2d(c, layer.channels, 3, 1, 1) for c, layer in zip(inputs, VGG))
        self.alpha = nn.Parameter(torch.ones(sum(CHANNELS)))
        self.beta = nn.Parameter(torch.ones(sum(CHANNELS)))
        window = torch.outer(weights := torch.tensor([0.5, 1.0, 0.5]), weights)
        self.register_buffer("hann", window / window.sum(), persistent=False)
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [0, 1] -> the images and five maps [B, C, h, w] (section 3.1)."""
        images = images.float()
        x, taps = (images - self.mean) / self.std, [images]
        for layer, conv in zip(VGG, self.conv):
            x = F.relu(conv(self._pool(x) if layer.pool else x))
            if layer.tap:
                taps.append(x)
        return taps

    def _pool(self, x: Tensor) -> Tensor:
        """The paper's L2 pooling (eq. 2), which does not alias: the root of the Hann-weighted mean square."""
        channels = x.shape[1]
        kernel = self.hann.expand(channels, 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=channels) + 1e-12).sqrt()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each image of `a` to its partner in `b` (eq. 7): [B].

        With weights that sum to 1, eq. 7 is the weighted sum of 1 - l and 1 - s, and these are (mx - my)^2 and
        var(x - y) over the denominators of eqs. 5 and 6: no cancellation, and exactly 0 for equal images.
        """
        check_pair("DISTS", a, b, MIN_SIDE)
        total = self.alpha.sum() + self.beta.sum()
        alphas, betas = (torch.split(w / total, list(CHANNELS)) for w in (self.alpha, self.beta))
        terms = []
        for x, y, alpha, beta in zip(self.features(a), self.features(b), alphas, betas):
            mx, my = x.mean((2, 3)), y.mean((2, 3))
            vx, vy, between = (v.var((2, 3), correction=0) for v in (x, y, x - y))
            texture = (mx - my).square() / (mx.square() + my.square() + C1)
            structure = between / (vx + vy + C2)
            terms.append(texture @ alpha + structure @ beta)
        return torch.stack(terms).sum(0)


def build_dists(path: Path) -> Dists:
    """The metric from `dists.safetensors`. Raises IntegrityError when the file is not sound or not of this metric."""
    metric = Dists()
    fill(metric, read_weights(path, "dists")[1], path, "DISTS")
    return metric


def find_dists(cache: Path) -> Dists | None:
    """The metric if its weights were fetched into `cache` (`lsr data get dists`), else None."""
    path = cache / "sets" / "dists" / "dists.safetensors"
    return build_dists(path) if path.is_file() else None
