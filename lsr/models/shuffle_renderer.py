"""The sub-pixel renderer: one convolution and a pixel shuffle (Shi et al. 2016), resized to any output.

The image at `factor` times the features' size is the only one it knows: smaller outputs are its antialiased reductions,
larger ones its bicubic enlargements. So outputs of different sizes agree, and the cost per output pixel is flat.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsr.models.config import RendererConfig
from lsr.models.renderer import rows_of
from lsr.nn.blocks import conv3, zeroed
from lsr.nn.resize import resize, source_rows


class ShuffleRenderer(nn.Module):
    """Features [B, C, h, w] -> conv -> [B, 3 r^2, h, w] -> [B, 3, r h, r w] -> resized. It starts at zero."""

    def __init__(self, channels: int, config: RendererConfig):
        super().__init__()
        self.config = config
        self.last = zeroed(conv3(channels, 3 * config.factor**2))
        self.shuffle = nn.PixelShuffle(config.factor)

    def forward(
        self,
        features: Tensor,
        size: tuple[int, int],
        rows: tuple[int, int] | None = None,
        extent: tuple[float, float] | None = None,
    ) -> Tensor:
        """As `Renderer.forward`. The extent is rounded to whole pixels of the image at `factor`.

        Rows are made of the part of the features that they depend on.
        """
        extent = extent or (features.shape[-2], features.shape[-1])
        start, stop = rows_of(features, size, rows, extent)
        r = self.config.factor
        height, width = (max(1, round(r * side)) for side in extent)
        low, high = source_rows(height, size[0], "bicubic", (start, stop))
        # A 3 x 3 convolution: one row of features more on either side, which the shuffle's crop takes off again.
        first, past = max(0, low // r - 1), min(features.shape[-2], -(-high // r) + 1)
        image: Tensor = self.shuffle(self.last(features[..., first:past, :]))
        image = image[..., low - r * first : high - r * first, :width]
        image = image.to(torch.promote_types(image.dtype, torch.float32))
        return resize(image, size, rows=(start, stop), part=(low, height))
