"""The implicit neural decoder ND(z, c) = f_theta(D_phi(z), c): any output size from one latent (System A 1.1, Eq 6).

D_phi stays at the latent's resolution; its features have channels * multipliers[0] channels and go to the renderer that
the config names.
"""

from __future__ import annotations

from torch import Tensor, nn

from lsr.models.autoencoder import Autoencoder, SymmetricDecoder
from lsr.models.config import AutoencoderConfig, RendererConfig
from lsr.models.conv_renderer import ConvRenderer
from lsr.models.renderer import Renderer


class NeuralDecoder(nn.Module):
    """Latent [B, c, h, w] -> image [B, 3, H, W] for any H, W at least 1; nominally in [-1, 1], not clamped."""

    def __init__(self, autoencoder: AutoencoderConfig, renderer: RendererConfig):
        super().__init__()
        self.trunk = SymmetricDecoder(autoencoder, upsample=False)
        kinds: dict[str, type[Renderer | ConvRenderer]] = {"liif": Renderer, "conv": ConvRenderer}
        self.renderer = kinds[renderer.kind](self.trunk.out_channels, renderer)

    def init_from(self, autoencoder: Autoencoder) -> None:
        """Copy the weights of the autoencoder's decoder into D_phi; its up-sampling and last layers have no place."""
        self.trunk.load_state_dict(dict(autoencoder.decoder.shared_weights()))

    def features(self, z: Tensor) -> Tensor:
        """D_phi: latent [B, c, h, w] (not whitened) -> features [B, C, h, w]."""
        out: Tensor = self.trunk(z)
        return out

    def render(
        self,
        features: Tensor,
        size: tuple[int, int],
        rows: tuple[int, int] | None = None,
        extent: tuple[float, float] | None = None,
    ) -> Tensor:
        """f_theta: features [B, C, h, w] -> image [B, 3, *size], or only its rows start..stop-1.

        extent: feature rows and columns covered by the image, all by default. See `Renderer.forward`.
        """
        image: Tensor = self.renderer(features, size, rows, extent)
        return image

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Decode a latent (not whitened) at `size`."""
        return self.render(self.features(z), size)
