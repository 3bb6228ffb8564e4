"""Small photos made by formula: detailed, coloured, different from each other."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.protocol import Image


def make_photo(seed: int, height: int = 128, width: int = 192) -> Image:
    """Discs and stripes on a slope: edges at every scale, like an image of things."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    out = np.stack([x / width, y / height, (x + y) / (width + height)], axis=2) * 120 + 40
    for _ in range(12):
        cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, 20)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        stripes = 40 * np.sin(x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))[..., None]
        out[inside] = (rng.uniform(20, 235, 3) + stripes)[inside]
    return np.clip(out, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photos() -> list[tuple[str, Image]]:
    return [(f"photo{i}", make_photo(i)) for i in range(4)]


@pytest.fixture
def config() -> EvaluateConfig:
    return EvaluateConfig(scales=(2.0, 2.5, 4.0), trained=(1.0, 2.5), lr_side=16, crops=2, photos=8)
