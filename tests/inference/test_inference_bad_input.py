"""Bad and odd input to `upscale`: a right image or a clear error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lsr.core.errors import InputError, IntegrityError
from lsr.diffusion.config import SamplerConfig
from lsr.inference.executor import Executor
from lsr.inference.request import Target
from lsr.models.system import LatentSystem, load_system, save_system
from lsr.nn.pad import pad_to_multiple
from tests.inference.kit import upscale
from tests.training.kit import tiny_system


@pytest.fixture(scope="module")
def system() -> LatentSystem:
    torch.set_num_threads(1)
    return tiny_system()


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (5, 2)])
@pytest.mark.parametrize("scale", [0.1, 0.5, 1.7, 200.0])
def test_scales_from_a_tenth_to_two_hundred(system: LatentSystem, size: tuple[int, int], scale: float) -> None:
    out = upscale(system, np.full((*size, 3), 90, np.uint8), scale=scale, steps=1)
    assert out.shape == (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)), 3)


@pytest.mark.parametrize("multiple", [1, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (13, 16)])
def test_padding_keeps_a_constant_constant_and_a_divisible_image_as_it_is(multiple: int, size: tuple[int, int]) -> None:
    constant, image = torch.full((1, 3, *size), 0.25), torch.rand(1, 3, *size)
    padded = pad_to_multiple(constant, multiple)
    assert torch.equal(padded, torch.full_like(padded, 0.25))
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert torch.equal(pad_to_multiple(image, multiple)[..., : size[0], : size[1]], image)
    if size[0] % multiple == size[1] % multiple == 0:
        assert pad_to_multiple(image, multiple) is image


def test_what_is_not_rounded_rounds_to_what_is(system: LatentSystem) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    sizes = [(9, 11), (3, 3)]
    executor, sampler = Executor(system), SamplerConfig(steps=2, seed=3)
    targets = [Target(size=size) for size in sizes]
    (whole,), exact = (
        executor.upscale_all([image], targets, sampler),
        executor.upscale_exact(image, targets, sampler),
    )
    for a, b in zip(whole, exact, strict=True):
        assert b.dtype == np.float32
        assert 0 <= b.min() <= b.max() <= 1
        assert np.abs(b * 255 - a).max() <= 0.5 + 1e-3
        assert np.abs(b * 255 - np.rint(b * 255)).max() > 0.01


def test_values_that_are_not_finite_never_reach_the_model(system: LatentSystem) -> None:
    with pytest.raises(InputError, match="must be a numpy array of uint8, found float64"):
        upscale(system, np.full((4, 4, 3), np.nan), scale=2.0)  # type: ignore[arg-type]


def test_config_and_weights_of_two_models_are_rejected(system: LatentSystem) -> None:
    config, _ = save_system(system.state_dict(), system.config)
    other = tiny_system(conditional=False)
    _, weights = save_system(other.state_dict(), other.config)
    with pytest.raises(IntegrityError, match="does not fit the LatentSystem of its config"):
        load_system(config, weights)
