"""A model in Python: resolved and checked once, then asked for as many images as wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsr.core.settings import Settings, load_settings
from lsr.diffusion.config import SamplerConfig
from lsr.inference.config import ExecutorConfig
from lsr.inference.request import Image, Size, Target
from lsr.registry.load import FileModel, load_named
from lsr.registry.versions import Version

if TYPE_CHECKING:
    from lsr.inference.executor import Executor


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A registered version or a model file, ready on its device."""

    version: Version | FileModel
    """Name, number and digest in the registry; of a file its name and digest."""
    executor: Executor
    """What it is asked through; it also takes several images and sizes at once."""

    @property
    def name(self) -> str:
        """`name/number`, as `lsr models list` prints it; of a file what `load` was given."""
        return str(self.version)

    @property
    def digest(self) -> str:
        """sha256 that names the version's code, config and weights, or that of the file."""
        return self.version.digest

    def upscale(
        self,
        image: Image,
        *,
        scale: float | None = None,
        size: Size | None = None,
        sampler: SamplerConfig | None = None,
    ) -> Image:
        """Upscale one image by a factor or to a size.

        image: uint8 [H, W, 3], RGB, sides of 1 pixel and up.
        scale: any finite factor above 0; the output has round(H * scale) x round(W * scale) pixels.
        size: (height, width) of the output, instead of a scale.
        sampler: name, steps, eta, seed and fidelity; the same ones give the same bytes on one machine. By default as
        the version was evaluated.
        Returns uint8 [H', W', 3].
        Raises InputError for another array, and unless exactly one of scale and size is given.
        """
        return self.executor.upscale(image, Target(scale=scale, size=size), sampler)

    def generate(self, size: Size, count: int = 1, *, sampler: SamplerConfig | None = None) -> Image:
        """Generate `count` images of `size` (height, width) from noise: uint8 [count, H, W, 3].

        Raises InputError for a super-resolution model.
        """
        return self.executor.generate(size, count, sampler)


def load(model: str, *, settings: Settings | None = None, config: ExecutorConfig = ExecutorConfig()) -> LoadedModel:
    """Load a registered version, a model file or a model that ships with LSR.

    model: `name@alias`, `name/number`, the path of a file made by `lsr models export`, or `photo`, which ships with
    LSR. An alias is resolved once, here: a later promotion does not change what was loaded.
    settings: where the store and MLflow are; by default what the environment says (`LSR_HOME`, `LSR_STORE`,
    `MLFLOW_TRACKING_URI`).
    config: device, by default the GPU where there is one, and images per call of the network.
    Raises NotFoundError for an unknown model, ConflictError for an alias that disagrees with the promotion log,
    IntegrityError for files that differ from their digests.
    """
    executor, version = load_named(settings or load_settings(), model, config)
    return LoadedModel(version=version, executor=executor)
