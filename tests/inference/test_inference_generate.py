"""Generation: any size from one latent, each image from its own seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lsr.core.errors import InputError
from lsr.diffusion.config import SamplerConfig
from lsr.inference.config import ExecutorConfig
from lsr.inference.executor import Executor
from lsr.inference.generate import latent_shape
from lsr.inference.request import Size
from lsr.models.config import RendererConfig
from lsr.models.system import LatentSystem
from tests.training.kit import tiny_system


def generate(system: LatentSystem, size: Size, count: int = 1, *, batch: int = 8, **how: Any) -> np.ndarray:
    return Executor(system, ExecutorConfig(batch=batch)).generate(size, count, SamplerConfig(**how))


@pytest.fixture(scope="module")
def system() -> LatentSystem:
    torch.set_num_threads(1)
    return tiny_system(conditional=False)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (17, 5), (48, 64)])
def test_any_size(system: LatentSystem, size: tuple[int, int]) -> None:
    out = generate(system, size, 2, steps=1)
    assert out.shape == (2, *size, 3)
    assert out.dtype == np.uint8


def test_a_square_image_has_the_trained_latent(system: LatentSystem) -> None:
    assert latent_shape(system, (5, 5)) == latent_shape(system, (700, 700)) == (8, 8)


@pytest.mark.parametrize(("size", "shape"), [((400, 100), (16, 4)), ((100, 400), (4, 16)), ((9, 16), (6, 10))])
def test_the_latent_keeps_aspect_ratio_and_area(
    system: LatentSystem, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    assert latent_shape(system, size) == shape


def test_extreme_ratios_are_stretched_when_decoding(system: LatentSystem) -> None:
    assert latent_shape(system, (1, 100_000)) == latent_shape(system, (1, 4))


def test_an_image_depends_on_seed_and_number_alone(system: LatentSystem) -> None:
    five = generate(system, (12, 12), 5, steps=3, eta=0.5, seed=3, batch=5)
    cut = generate(system, (12, 12), 3, steps=3, eta=0.5, seed=3, batch=2)
    assert np.abs(five[:3].astype(int) - cut.astype(int)).max() <= 1
    assert np.array_equal(five, generate(system, (12, 12), 5, steps=3, eta=0.5, seed=3, batch=5))
    assert len({image.tobytes() for image in five}) == 5
    assert not np.array_equal(five, generate(system, (12, 12), 5, steps=3, eta=0.5, seed=4, batch=5))


def test_sizes_of_one_ratio_show_one_image() -> None:
    """Three times as large, every third pixel lies where a pixel of the small image does; without cell decoding the
    renderer must give it the same colour.
    """
    system = tiny_system(conditional=False, renderer=RendererConfig(hidden=(8, 8), cell_decoding=False))
    small, large = (generate(system, (s, s), 1, steps=2)[0] for s in (16, 48))
    assert np.abs(large[1::3, 1::3].astype(int) - small.astype(int)).max() <= 1
    assert small.std() > 1


def test_a_super_resolution_model_does_not_generate() -> None:
    with pytest.raises(InputError, match="needs an LR condition"):
        generate(tiny_system(), (4, 4), steps=1)


@pytest.mark.parametrize("options", [{"size": (0, 3)}, {"count": 0}, {"steps": 0}, {"eta": 2.0}])
def test_impossible_requests_are_rejected(system: LatentSystem, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        generate(system, **{"size": (4, 4), **options})
