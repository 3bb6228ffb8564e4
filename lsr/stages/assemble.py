"""A whole LSR system put together from the stages' results: decoder, U-Net, whitening and how the condition is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from data_prep.config import LatentsConfig
from lsr.core.canonical import sha256_hex
from lsr.core.config import from_plain
from lsr.core.errors import IntegrityError
from lsr.core.refs import Ref
from lsr.data.config import DegradationConfig
from lsr.data.manifest import Manifest, load_manifest
from lsr.diffusion.config import SamplerConfig
from lsr.models.config import AutoencoderConfig, BodyConfig, DiffusionConfig, RendererConfig, SystemConfig, UNetConfig
from lsr.stages.trained import Trained, read_trained, weights_of
from lsr.store import Store

if TYPE_CHECKING:
    from lsr.models.system import LatentSystem


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A system as bytes: canonical config JSON and safetensors, and the digest over both that names the version."""

    config: bytes
    weights: bytes

    @property
    def digest(self) -> str:
        return sha256_hex((sha256_hex(self.config) + sha256_hex(self.weights)).encode())


def system_config(
    decoder: Trained, unet: dict[str, Any], latents: Manifest, tiles: Manifest, task: str
) -> SystemConfig:
    """The architecture of the whole system. unet: plain data with `unet` and `diffusion`. latents, tiles: what it was
    trained on; the condition is made at inference as it was for them.
    """
    degradations = from_plain(LatentsConfig, latents.made_by["config"]).degradations
    condition = degradations[0] if degradations else DegradationConfig(factor=1)
    autoencoder = from_plain(AutoencoderConfig, decoder.system["autoencoder"])
    return SystemConfig(
        autoencoder=autoencoder,
        renderer=from_plain(RendererConfig, decoder.system["renderer"]),
        unet=from_plain(UNetConfig, unet["unet"]),
        diffusion=from_plain(DiffusionConfig, unet["diffusion"]),
        conditional=task == "super-resolution",
        base_scale=condition.factor,
        condition_upsample=condition.upsample,
        latent_side=int(tiles.extra["size"]) // autoencoder.factor,
        residual=bool(decoder.system.get("residual", False)),
        body=from_plain(BodyConfig, decoder.system["body"]) if "body" in decoder.system else None,
    )


def assemble(store: Store, refs: dict[str, Ref]) -> LatentSystem:
    """The system of these results, in eval mode, with averaged weights.

    Raises IntegrityError when the latents were not encoded by this decoder's encoder.
    """
    import torch

    from lsr.data.whitening import Whitening
    from lsr.models.system import LatentSystem

    decoder, trained = read_trained(store, refs["decoder"]), read_trained(store, refs["joint"])
    latents = load_manifest(store, refs["latents"].path)
    if latents.extra["encoder"] != refs["decoder"].digest:
        raise IntegrityError(
            f"Latents {refs['latents'].digest[:12]} were encoded by {str(latents.extra['encoder'])[:12]}, not by "
            f"decoder {refs['decoder'].digest[:12]}; run `lsr latents` again."
        )
    system = LatentSystem(from_plain(SystemConfig, trained.system))
    first_stage, denoiser = (weights_of(store, result) for result in (decoder, trained))
    whitening = Whitening.from_plain(latents.extra["whitening_values"])
    shape = (-1, 1, 1)
    state = {
        **{name: value for name, value in first_stage.items() if name.startswith(("encoder.", "decoder."))},
        **{f"unet.{name}": value for name, value in denoiser.items()},
        "latent_mean": torch.tensor(whitening.mean).reshape(shape),
        "latent_std": torch.tensor(whitening.std).reshape(shape),
    }
    system.load_state_dict(state)
    return system.eval()


def pack(system: LatentSystem, sampler: SamplerConfig | None = None) -> Packed:
    """The system as bytes. sampler: how it draws images where a request does not say it; None leaves the system's."""
    from lsr.models.system import save_system

    architecture = system.config if sampler is None else replace(system.config, sampler=sampler)
    config, weights = save_system(system.state_dict(), architecture)
    return Packed(config=config, weights=weights)
