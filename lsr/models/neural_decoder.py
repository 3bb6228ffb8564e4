"""The implicit neural decoder ND(z, c) = f_theta(D_phi(z), c): any output size from one latent (System A 1.1, Eq 6).

D_phi stays at the latent's resolution; its features have channels * multipliers[0] channels and go to the renderer that
the config names. With a body the decoder is f_theta(B(LR, D_phi(z)), c): it sees the LR image's own pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from lsr.core.errors import InputError
from lsr.models.autoencoder import Autoencoder, SymmetricDecoder
from lsr.models.body import Body
from lsr.models.config import AutoencoderConfig, BodyConfig, RendererConfig
from lsr.models.conv_renderer import ConvRenderer
from lsr.models.renderer import Renderer
from lsr.models.shuffle_renderer import ShuffleRenderer
from lsr.nn.pad import pad_to_size

RENDERERS: dict[str, type[Renderer | ConvRenderer | ShuffleRenderer]] = {
    "liif": Renderer,
    "conv": ConvRenderer,
    "shuffle": ShuffleRenderer,
}
"""By `RendererConfig.kind`."""


class NeuralDecoder(nn.Module):
    """Latent [B, c, h, w] -> image [B, 3, H, W] for any H, W at least 1; nominally in [-1, 1], not clamped."""

    def __init__(self, autoencoder: AutoencoderConfig, renderer: RendererConfig, body: BodyConfig | None = None):
        super().__init__()
        self.trunk = SymmetricDecoder(autoencoder, upsample=False)
        self.body = None if body is None else Body(self.trunk.out_channels, body)
        channels = self.trunk.out_channels if body is None else body.channels
        self.renderer = RENDERERS[renderer.kind](channels, renderer)

    def init_from(self, autoencoder: Autoencoder) -> None:
        """Copy the weights of the autoencoder's decoder into D_phi; its up-sampling and last layers have no place."""
        self.trunk.load_state_dict(dict(autoencoder.decoder.shared_weights()))

    def features(self, z: Tensor, lr: Tensor | None = None) -> Tensor:
        """D_phi: latent [B, c, h, w] (not whitened) -> features [B, C, h, w].

        lr: the LR image [B, 3, h', w'] in [-1, 1] that a body sees, h' and w' at most h and w: its edge is repeated to
        the latent's sides. Raises InputError for a body that is given none or a larger one.
        """
        out: Tensor = self.trunk(z)
        if self.body is None:
            return out
        if lr is None:
            raise InputError("This decoder sees the LR image's pixels; give it the LR image too.")
        joined: Tensor = self.body(pad_to_size(lr, (z.shape[-2], z.shape[-1])), out)
        return joined

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

    def forward(self, z: Tensor, size: tuple[int, int], lr: Tensor | None = None) -> Tensor:
        """Decode a latent (not whitened) at `size`."""
        return self.render(self.features(z, lr), size)
