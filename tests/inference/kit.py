"""One image asked of a system through an executor, every choice by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.diffusion.config import SamplerConfig
from lsr.inference.executor import Executor
from lsr.inference.request import Size, Target
from lsr.models.system import LatentSystem


def upscale(
    system: LatentSystem, image: NDArray[np.uint8], *, scale: float | None = None, size: Size | None = None, **how: Any
) -> NDArray[np.uint8]:
    """how: fields of SamplerConfig."""
    return Executor(system).upscale(image, Target(scale, size), SamplerConfig(**how))


def make_image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
