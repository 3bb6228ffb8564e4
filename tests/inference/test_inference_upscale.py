"""Upscaling: any image, any factor, the same result however it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.samplers import ddim
from lsr.inference import render as render_room
from lsr.inference import upscale as room
from lsr.inference.config import ExecutorConfig
from lsr.inference.executor import Executor
from lsr.inference.request import Target
from lsr.inference.upscale import condition, windowed
from lsr.inference.windows import Window
from lsr.models.neural_decoder import NeuralDecoder
from lsr.models.renderer import Renderer
from lsr.models.system import LatentSystem
from lsr.nn.random import normal
from tests.inference.kit import make_image, upscale
from tests.training.kit import tiny_system


@pytest.fixture(scope="module")
def system() -> LatentSystem:
    torch.set_num_threads(1)
    return tiny_system()


def differ(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """Largest difference in levels of 0..255."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (17, 5)])
@pytest.mark.parametrize("scale", [0.3, 1.0, math.pi, 30])
def test_any_size_by_any_factor(system: LatentSystem, size: tuple[int, int], scale: float) -> None:
    out = upscale(system, make_image(*size), scale=scale, steps=1)
    assert out.shape == (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)), 3)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous


def test_a_target_size_may_have_another_aspect_ratio(system: LatentSystem) -> None:
    assert upscale(system, make_image(6, 4), size=(9, 31), steps=2).shape == (9, 31, 3)


@given(h=st.integers(1, 5000), w=st.integers(1, 5000), scale=st.floats(1e-3, 6))
@settings(max_examples=200)
def test_the_output_side_is_the_rounded_product_and_at_least_1(h: int, w: int, scale: float) -> None:
    height, width = Target(scale=scale).of((h, w))
    assert abs(height - h * scale) <= 0.5 + 1e-6 or height == 1
    assert abs(width - w * scale) <= 0.5 + 1e-6 or width == 1
    assert min(height, width) >= 1


def test_upscaling_is_sampling_then_decoding_the_part_that_is_image() -> None:
    """Against the model's own parts: condition, DDIM with the seed's noise, decode with the extent."""
    system, image = tiny_system(base_scale=3).eval(), make_image(5, 3)
    with torch.no_grad():
        lr = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        cond = system.condition(lr)
        assert cond.shape[-2:] == (8, 6), "padded to the U-Net's factor"
        noise = normal([derive_seed(4, "upscale", "noise")], cond.shape[1:])
        z = ddim(system.denoiser(cond), system.schedule, noise, 3)
        wanted = system.decode(z, (11, 7), extent=(7.5, 4.5))
    found = upscale(system, image, size=(11, 7), steps=3, seed=4)
    levels = ((wanted[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8)
    assert differ(found, levels) <= 1


def test_a_seed_decides_everything(system: LatentSystem) -> None:
    image = make_image(4, 4)
    results = [
        upscale(system, image, scale=3.0, steps=3, eta=eta, seed=seed) for eta in (0.0, 1.0) for seed in (1, 1, 2)
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[3], results[4])
    assert not np.array_equal(results[0], results[2])
    assert not np.array_equal(results[3], results[5])
    assert not np.array_equal(results[0], results[3])


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_the_batch_changes_nothing(system: LatentSystem, monkeypatch: pytest.MonkeyPatch, eta: float) -> None:
    """Rounding in the last bit may move a value across the border of two levels, no more."""
    images = [make_image(4, 6, 0), make_image(5, 3, 1), make_image(4, 6, 2), make_image(4, 6, 3), make_image(4, 6, 4)]
    sampler, target = SamplerConfig(steps=3, eta=eta, seed=7), Target(scale=2.5)
    expected = [upscale(system, image, scale=2.5, steps=3, eta=eta, seed=7) for image in images]
    batches: list[int] = []
    original = LatentSystem.predict
    monkeypatch.setattr(
        LatentSystem, "predict", lambda self, x, *rest: batches.append(len(x)) or original(self, x, *rest)
    )
    together = Executor(system, ExecutorConfig(batch=3)).upscale_all(images, [target], sampler)
    assert batches == [3] * 3 + [1] * 3 + [1] * 3, "images of one size go together, at most three"
    for (found,), wanted in zip(together, expected, strict=True):
        assert differ(found, wanted) <= 1


def test_sizes_come_from_one_latent(system: LatentSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    image, sizes = make_image(4, 6), [(9, 5), (8, 12), (1, 40)]
    single = [upscale(system, image, size=size, steps=2, seed=5) for size in sizes]
    calls: list[int] = []
    original = LatentSystem.predict
    monkeypatch.setattr(LatentSystem, "predict", lambda self, *a: calls.append(1) or original(self, *a))
    targets = [Target(size=size) for size in sizes]
    (together,) = Executor(system).upscale_all([image], targets, SamplerConfig(steps=2, seed=5))
    assert all(np.array_equal(a, b) for a, b in zip(single, together, strict=True))
    assert len(calls) == 2


def test_dropout_is_off(system: LatentSystem) -> None:
    first = upscale(system.train(), make_image(4, 4), scale=2.0, steps=2)
    assert not system.training
    assert np.array_equal(first, upscale(system, make_image(4, 4), scale=2.0, steps=2))


# Windows


@pytest.fixture
def windows(system: LatentSystem, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the side in latent pixels from which windows are used."""
    return lambda side: monkeypatch.setattr(room, "AUTOMATIC_WINDOW", side / system.config.latent_side)


def test_one_window_is_the_whole(system: LatentSystem, windows: Callable[[int], None]) -> None:
    image = make_image(8, 6)
    windows(1000)
    whole = upscale(system, image, scale=2.0, steps=2)
    windows(16)
    assert np.array_equal(upscale(system, image, scale=2.0, steps=2), whole)
    lr = room.to_float(image[None], torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(condition(system, lr, (32, 24), Window(16, 4)), system.condition(lr))


def test_windows_see_their_part_of_noise_and_condition(system: LatentSystem) -> None:
    """Away from the seams, the blended estimate is that of the one window that covers it."""
    x, cond, t = torch.randn(1, 2, 24, 8), torch.randn(1, 2, 24, 8), torch.tensor([50])
    with torch.no_grad():
        blended = windowed(system, cond, Window(16, 4))(x, t)
        top = system.denoiser(cond[..., :16, :])(x[..., :16, :], t)
        bottom = system.denoiser(cond[..., 8:, :])(x[..., 8:, :], t)
    assert torch.allclose(blended[..., :8, :], top[..., :8, :], atol=1e-5)
    assert torch.allclose(blended[..., 16:, :], bottom[..., 8:, :], atol=1e-5)


def test_no_forward_is_larger_than_a_window(
    system: LatentSystem, windows: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bounds the memory of large images: encoder, U-Net and D_phi in windows, f_theta in bands."""
    sides: dict[str, int] = {}

    def watch(owner: Any, name: str, what: Callable[..., int]) -> None:
        original = getattr(owner, name)

        def watched(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            sides[name] = max(sides.get(name, 0), what(x, *args, **kwargs))
            return original(self, x, *args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(LatentSystem, "predict", lambda x, *_: max(x.shape[-2:]))
    watch(NeuralDecoder, "features", lambda x, lr: max(x.shape[-2:]))
    watch(Renderer, "_band", lambda x, size, extent, start, stop: (stop - start) * size[1])
    monkeypatch.setattr(render_room, "PIXELS_AT_ONCE", 1000)
    encoder, forward = system.encoder, type(system.encoder).forward
    monkeypatch.setattr(
        type(encoder), "forward", lambda self, x: sides.__setitem__("encode", max(x.shape[-2:])) or forward(self, x)
    )
    windows(12)
    out = upscale(system, make_image(20, 30), scale=7.3, steps=2)
    assert out.shape == (146, 219, 3)
    assert sides["encode"] == 12 * 2
    assert sides["predict"] == sides["features"] == 12
    assert sides["_band"] <= 1000


def test_large_images_get_windows_by_themselves(system: LatentSystem, windows: Callable[[int], None]) -> None:
    side = int(room.AUTOMATIC_WINDOW * system.config.latent_side)
    image = make_image(2, side // 2 + 4)
    automatic = upscale(system, image, scale=1.0, steps=1)
    windows(10 * side)
    assert not np.array_equal(automatic, upscale(system, image, scale=1.0, steps=1))


# Rejections


@pytest.mark.parametrize("scale", [0, -1.0, math.nan, math.inf, -math.inf, True, "2"])
def test_a_scale_is_finite_and_positive(system: LatentSystem, scale: Any) -> None:
    with pytest.raises(InputError, match="scale must be a finite number above 0, found"):
        upscale(system, make_image(2, 2), scale=scale)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4,), (2.5, 3), (True, 3)])
def test_a_size_is_whole_and_positive(system: LatentSystem, size: Any) -> None:
    with pytest.raises(InputError, match=r"A size must be \(height, width\) in whole pixels"):
        upscale(system, make_image(2, 2), size=size)


def test_exactly_one_of_scale_and_size(system: LatentSystem) -> None:
    with pytest.raises(InputError, match="Give either a scale or a size, found neither"):
        upscale(system, make_image(2, 2))
    with pytest.raises(InputError, match="found both"):
        upscale(system, make_image(2, 2), scale=2.0, size=(4, 4))


def test_an_absurd_output_is_rejected_before_any_work(system: LatentSystem) -> None:
    with pytest.raises(InputError, match="An output may have at most 1073741824 pixels, found 2000000 x 2000000"):
        upscale(system, make_image(2, 2), size=(2_000_000, 2_000_000))
    with pytest.raises(InputError, match="found 1000000 x 1000000"):
        Target(scale=1e6)
    with pytest.raises(InputError, match="found 30000 x 60000"):
        upscale(system, np.zeros((1, 2, 3), np.uint8), scale=3e4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_image_has_three_channels(system: LatentSystem, image: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"must be \[height, width, 3\] with sides of at least 1, found"):
        upscale(system, image, scale=2.0)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.int16), [[[1, 2, 3]]]])
def test_an_image_is_uint8(system: LatentSystem, image: Any) -> None:
    with pytest.raises(InputError, match=r"must be a numpy array of uint8, found (float32|int16|list)"):
        upscale(system, image, scale=2.0)


def test_a_generating_model_does_not_upscale() -> None:
    with pytest.raises(InputError, match="generates images and takes no LR image"):
        upscale(tiny_system(conditional=False), make_image(2, 2), scale=2.0)


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 101}, {"eta": -0.1}, {"eta": 1.5}])
def test_impossible_sampling_is_rejected(system: LatentSystem, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        upscale(system, make_image(2, 2), scale=2.0, **options)


def test_the_sampler_is_a_choice_of_the_request(system: LatentSystem) -> None:
    """The solver is DDIM for two steps and another path from three on; it repeats itself and takes no eta."""
    image = make_image(6, 5)

    def ask(steps: int, **request: Any) -> NDArray[np.uint8]:
        return upscale(system, image, scale=2.5, steps=steps, **request)

    assert differ(ask(2, name="dpm++"), ask(2)) <= 1
    assert differ(ask(6, name="dpm++"), ask(6)) > 0
    assert np.array_equal(ask(6, name="dpm++"), ask(6, name="dpm++"))
    with pytest.raises(InputError, match="eta must be 0"):
        ask(6, name="dpm++", eta=0.5)


def floats(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Planes of float32: on 8 bits Pillow clamps between its two passes."""
    return np.ascontiguousarray(image.transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize("size", [(12, 16), (37, 5), (3, 4)])
def test_a_residual_model_that_adds_nothing_is_pillows_bicubic(size: tuple[int, int]) -> None:
    """Band by band, at any size: the LR image is the base, to one level of rounding."""
    quiet = tiny_system(residual=True)
    torch.nn.init.zeros_(quiet.decoder.renderer.rest[-1].weight)
    torch.nn.init.zeros_(quiet.decoder.renderer.rest[-1].bias)
    image = make_image(6, 8)
    planes = [Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.BICUBIC) for plane in floats(image)]
    expected = np.stack([np.asarray(plane) for plane in planes], axis=-1).round().clip(0, 255).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render_room, "PIXELS_AT_ONCE", 2 * size[1])
        assert differ(upscale(quiet, image, size=size, steps=1), expected) <= 1
