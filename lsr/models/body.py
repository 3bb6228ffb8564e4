"""A residual body on the LR image's pixels, joined by features of the latent."""

from __future__ import annotations

from torch import Tensor, nn

from lsr.models.config import BodyConfig
from lsr.nn.blocks import ResidualConvs, conv3


class Body(nn.Module):
    """B(LR, D_phi(z)): LR [B, 3, h, w], features of the latent [B, C', h, w] -> [B, channels, h, w].

    h = head(LR) + join(D_phi(z)), then EDSR's residual blocks and a skip from the head (Lim et al. 2017).
    """

    def __init__(self, latent_features: int, config: BodyConfig):
        super().__init__()
        self.head = conv3(3, config.channels)
        self.join = nn.Conv2d(latent_features, config.channels, 1)
        blocks = (ResidualConvs(config.channels) for _ in range(config.blocks))
        self.blocks = nn.Sequential(*blocks, conv3(config.channels, config.channels))

    def forward(self, lr: Tensor, latent: Tensor) -> Tensor:
        h = self.head(lr) + self.join(latent)
        out: Tensor = h + self.blocks(h)
        return out
