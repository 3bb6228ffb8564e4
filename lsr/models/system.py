"""The whole LSR model: encoder, neural decoder, U-Net, schedule and whitening.

Latents inside the diffusion process are whitened: (z - latent_mean) / latent_std per channel. An image whose latent
side is not a multiple of the U-Net's factor is padded at the right and bottom; `extent` says which part is image.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lsr.core.canonical import canonical_json
from lsr.core.config import as_plain, check, from_plain
from lsr.core.errors import InputError, IntegrityError, VersionMismatchError
from lsr.diffusion.prediction import to_x0
from lsr.diffusion.samplers import Denoiser
from lsr.diffusion.schedule import Schedule
from lsr.models.autoencoder import Encoder
from lsr.models.config import SystemConfig
from lsr.models.neural_decoder import NeuralDecoder
from lsr.models.unet import UNet
from lsr.models.weights import load_weights, weights_to_bytes
from lsr.nn.pad import pad_to_multiple
from lsr.nn.resize import resize

FORMAT = 1


class LatentSystem(nn.Module):
    """A latent diffusion model whose output size is chosen when decoding (System A 1.1).

    Images are [B, 3, H, W] in [-1, 1]. `unet` predicts what config.diffusion.prediction says, on whitened latents.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: SystemConfig):
        super().__init__()
        self.config = config
        channels = config.autoencoder.latent_channels
        self.encoder = Encoder(config.autoencoder)
        self.decoder = NeuralDecoder(config.autoencoder, config.renderer, config.body)
        self.unet = UNet(config.unet, channels * (2 if config.conditional else 1), channels)
        diffusion = config.diffusion
        self.schedule = Schedule(
            diffusion.schedule,
            diffusion.steps,
            diffusion.beta_start,
            diffusion.beta_end,
            to_zero=diffusion.zero_terminal,
        )
        self.register_buffer("latent_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1, 1))

    def whiten(self, z: Tensor) -> Tensor:
        """Latent [B, c, h, w] as the encoder gives it -> zero mean and unit variance a channel."""
        return (z - self.latent_mean) / self.latent_std

    def unwhiten(self, z: Tensor) -> Tensor:
        """The inverse of `whiten`: what the decoder takes."""
        return z * self.latent_std + self.latent_mean

    def latent_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Sides of the (padded) latent of an image of `size` pixels at the encoder's resolution."""
        f, u = self.config.autoencoder.factor, self.config.unet.factor
        return math.ceil(size[0] / (f * u)) * u, math.ceil(size[1] / (f * u)) * u

    def extent(self, size: tuple[int, int]) -> tuple[float, float]:
        """Rows and columns of the latent that an image of `size` pixels at the encoder's resolution covers."""
        f = self.config.autoencoder.factor
        return size[0] / f, size[1] / f

    def condition(self, lr: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """LR image [B, 3, h, w] -> its whitened latent [B, c, *latent_size(size)] (System A 1.5).

        LR is brought to `size` (base_scale times its own by default) by `condition_upsample`, padded by repeating its
        edge, and encoded to the mode. Raises InputError when this system takes no condition.
        """
        if not self.config.conditional:
            raise InputError("This model generates images and takes no LR condition; use a super-resolution model.")
        scale = self.config.base_scale
        size = size or (lr.shape[-2] * scale, lr.shape[-1] * scale)
        restored = resize(lr, size, self.config.condition_upsample)
        padded = pad_to_multiple(restored, self.config.autoencoder.factor * self.config.unet.factor)
        return self.whiten(self.encoder(padded).mode())

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The U-Net's raw output for whitened x_t [B, c, h, w] of any size, t int64 [B]; padded and cropped back."""
        height, width = x_t.shape[-2:]
        factor = self.config.unet.factor
        out: Tensor = self.unet(
            pad_to_multiple(x_t, factor), t, None if cond is None else pad_to_multiple(cond, factor)
        )
        return out[..., :height, :width]

    def denoiser(self, cond: Tensor | None = None) -> Denoiser:
        """What samplers take: (x_t, t) -> estimate of x0. Raises InputError when cond and model disagree."""
        if (cond is not None) != self.config.conditional:
            need = "needs an LR condition" if self.config.conditional else "takes no condition"
            raise InputError(f"This model {need}, found {'one' if cond is not None else 'none'}.")

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            output = self.predict(x_t, t, cond)
            return to_x0(self.config.diffusion.prediction, output, x_t, self.schedule.abar(t))

        return denoise

    def decode(
        self,
        z: Tensor,
        size: tuple[int, int],
        extent: tuple[float, float] | None = None,
        lr: Tensor | None = None,
    ) -> Tensor:
        """Whitened latent [B, c, h, w] -> image [B, 3, *size]; extent: the part of the latent that is image.

        lr: the LR image [B, 3, h', w'] that a residual system's image is added to, see `render`, and that a body
        sees, see `NeuralDecoder.features`.
        """
        return self.render(self.decoder.features(self.unwhiten(z), lr), size, extent=extent, lr=lr)

    def render(
        self,
        features: Tensor,
        size: tuple[int, int],
        rows: tuple[int, int] | None = None,
        extent: tuple[float, float] | None = None,
        lr: Tensor | None = None,
    ) -> Tensor:
        """`NeuralDecoder.render`, for a residual system added to the bicubic enlargement of `lr`.

        Raises InputError when a residual system gets no `lr`; other systems ignore it.
        """
        image = self.decoder.render(features, size, rows=rows, extent=extent)
        if not self.config.residual:
            return image
        if lr is None:
            raise InputError("This model renders what is added to the LR image; give it the LR image too.")
        return image + resize(lr, size, rows=rows)


def save_system(state: Mapping[str, Tensor], config: SystemConfig) -> tuple[bytes, bytes]:
    """A system's state dict and config as (canonical config JSON, safetensors); `load_system` reads them back."""
    return canonical_json({"format": FORMAT, "config": as_plain(config)}), weights_to_bytes(state)


def load_system(config_json: bytes, weights: bytes, where: str = "This model") -> LatentSystem:
    """Rebuild a system on the CPU, in eval mode, exactly as it was saved.

    where: what the bytes are, for messages. Raises VersionMismatchError for another format version, IntegrityError
    for unreadable JSON or weights that do not fit, ConfigError for an impossible config.
    """
    try:
        record = json.loads(config_json)
    except ValueError as error:
        raise IntegrityError(f"{where}: its config is not JSON ({error}); fetch or build it again.") from error
    if not isinstance(record, dict) or "format" not in record or "config" not in record:
        raise IntegrityError(f"{where}: its config must be a JSON object with 'format' and 'config'.")
    if record["format"] != FORMAT:
        raise VersionMismatchError(
            f"{where}: its config has format {record['format']!r}, this code reads format {FORMAT}; "
            "use the release of lsr that wrote it."
        )
    config = from_plain(SystemConfig, record["config"])
    check(config)
    with torch.device("meta"):
        system = LatentSystem(config)
    load_weights(system, weights, where)
    return system.eval()
