"""A whole LSR system put together from the stages' results: decoder, U-Net, whitening and how the condition is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsr.core.canonical import sha256_hex
from lsr.core.config import from_plain
from lsr.core.errors import IntegrityError
from lsr.core.refs import Ref
from lsr.models.config import SystemConfig
from lsr.stages.results import Trained, read_trained, weights_of
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


def system_config(decoder: Trained, unet: dict[str, Any], latents_extra: dict[str, Any], task: str) -> SystemConfig:
    """The architecture of the whole system. unet: plain data with `unet` and `diffusion`. latents_extra: the latent
    manifest's facts (degradations, tile size).
    """
    degradations = latents_extra["degradation_configs"]
    condition = degradations[0] if degradations else {"factor": 1, "upsample": "nearest"}
    autoencoder = decoder.system["autoencoder"]
    factor = 2 ** (len(autoencoder["multipliers"]) - 1)
    return from_plain(
        SystemConfig,
        {
            "autoencoder": autoencoder,
            "renderer": decoder.system["renderer"],
            "unet": unet["unet"],
            "diffusion": unet["diffusion"],
            "conditional": task == "super-resolution",
            "base_scale": condition["factor"],
            "condition_upsample": condition["upsample"],
            "latent_side": int(latents_extra["tile_size"]) // factor,
        },
    )


def assemble(store: Store, refs: dict[str, Ref], *, weights: str = "ema", unet: str = "joint") -> LatentSystem:
    """The system of these results, in eval mode. weights: `ema` or `raw`. unet: the stage that trained the U-Net.

    Raises IntegrityError when the latents were not encoded by this decoder's encoder.
    """
    import torch

    from lsr.data.manifest import load_manifest
    from lsr.data.whitening import Whitening
    from lsr.models.system import LatentSystem

    decoder, trained = read_trained(store, refs["decoder"]), read_trained(store, refs[unet])
    latents = load_manifest(store, refs["latents"].path)
    if latents.extra["encoder"] != refs["decoder"].digest:
        raise IntegrityError(
            f"Latents {refs['latents'].digest[:12]} were encoded by {str(latents.extra['encoder'])[:12]}, not by decoder "
            f"{refs['decoder'].digest[:12]}; run `lsr latents` again."
        )
    system = LatentSystem(from_plain(SystemConfig, trained.system))
    first_stage, denoiser = (weights_of(store, result, weights) for result in (decoder, trained))
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


def pack(system: LatentSystem) -> Packed:
    """The system as bytes."""
    from lsr.models.system import save_system

    config, weights = save_system(system.state_dict(), system.config)
    return Packed(config=config, weights=weights)
