"""A registered version in Python: resolved and checked once, then asked for as many images as wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsr.core.settings import Settings, load_settings
from lsr.diffusion.config import SamplerConfig
from lsr.stages.infer import load_version
from lsr.store import open_store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lsr.models.system import LatentSystem
    from lsr.registry.versions import Version


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A version with its weights on this machine's device: the first GPU where there is one, else the CPU."""

    version: Version
    system: LatentSystem

    @property
    def name(self) -> str:
        """`name/number`, as `lsr models list` prints it."""
        return str(self.version)

    @property
    def digest(self) -> str:
        """sha256 that names the version's code, config and weights."""
        return self.version.digest

    def upscale(
        self,
        image: NDArray[np.uint8],
        *,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        sampler: SamplerConfig = SamplerConfig(),
    ) -> NDArray[np.uint8]:
        """Upscale one image by a factor or to a size.

        image: uint8 [H, W, 3], RGB, sides of 1 pixel and up.
        scale: any finite factor above 0; the output has round(H * scale) x round(W * scale) pixels.
        size: (height, width) of the output, instead of a scale.
        sampler: name, steps, eta and seed; the same ones give the same bytes on one machine.
        Returns uint8 [H', W', 3].
        Raises InputError for another array, and unless exactly one of scale and size is given.
        """
        from lsr.inference.upscale import upscale

        return upscale(self.system, image, scale=scale, size=size, sampler=sampler)

    def generate(
        self,
        size: tuple[int, int],
        count: int = 1,
        *,
        sampler: SamplerConfig = SamplerConfig(steps=50),
    ) -> NDArray[np.uint8]:
        """Generate `count` images of `size` (height, width) from noise: uint8 [count, H, W, 3].

        Raises InputError for a super-resolution model.
        """
        from lsr.inference.generate import generate

        return generate(self.system, size, count, sampler=sampler)


def load(model: str, *, settings: Settings | None = None) -> LoadedModel:
    """Load a registered version.

    model: `name@alias` or `name/number`. An alias is resolved once, here: a later promotion does not change what was
    loaded.
    settings: where the store and MLflow are; by default what the environment says (`LSR_HOME`, `LSR_STORE`,
    `MLFLOW_TRACKING_URI`).
    Raises NotFoundError for an unknown model, ConflictError for an alias that disagrees with the promotion log,
    IntegrityError for files that differ from their digests.
    """
    from lsr.registry.aliases import resolve_for_inference

    found = settings or load_settings()
    version = resolve_for_inference(open_store(found.store), found.mlflow, found.prefix + model)
    return LoadedModel(version=version, system=load_version(found.mlflow, version, str(found.cache / "versions")))
