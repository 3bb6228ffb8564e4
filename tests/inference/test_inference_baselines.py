"""Comparators at work: any size, the same answer for the same seed, in any batch, and clear rejections."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from lsr.core.errors import InputError
from lsr.diffusion.config import SamplerConfig
from lsr.inference.baselines import Comparator, sampled
from lsr.inference.executor import Executor, Upscaler
from lsr.inference.render import to_float
from lsr.models.baselines.build import build
from lsr.models.baselines.idm import Idm
from lsr.models.baselines.liif import Liif
from lsr.models.baselines.sr3 import Sr3
from lsr.nn.random import normal
from tests.models.baselines.kit import TINY

SIZES = [(14, 10), (1, 1), (3, 29), (33, 8), (7, 5)]


def make_image(height: int = 7, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def answers(kind: str, seed: int = 0, eta: float = 0.0) -> Upscaler:
    torch.manual_seed(1)
    executor = Executor(Comparator(build(TINY[kind]), TINY[kind]))
    return executor.upscaler(SamplerConfig(steps=3, seed=seed, eta=eta))


@pytest.mark.parametrize("kind", TINY)
def test_every_comparator_answers_any_size(kind: str) -> None:
    out = answers(kind)(make_image(), SIZES)
    assert [one.shape for one in out] == [(*size, 3) for size in SIZES]
    assert all(one.dtype == np.uint8 for one in out)
    one_pixel = answers(kind)(make_image(1, 1), [(5, 3)])
    assert one_pixel[0].shape == (5, 3, 3)


@pytest.mark.parametrize("kind", TINY)
def test_answers_repeat_and_do_not_depend_on_what_else_is_asked(kind: str) -> None:
    first, second = answers(kind, eta=1.0), answers(kind, eta=1.0)
    together = first(make_image(), SIZES)
    for size, expected in zip(SIZES, together):
        np.testing.assert_array_equal(second(make_image(), [size])[0], expected)


@pytest.mark.parametrize("kind", ["sr3", "idm"])
def test_the_seed_changes_what_is_sampled(kind: str) -> None:
    one, other = (answers(kind, seed=seed)(make_image(), [(14, 10)])[0] for seed in (0, 1))
    assert (one != other).any()


@pytest.mark.parametrize("kind", ["sr3", "idm"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sample_does_not_depend_on_its_batch(kind: str, eta: float) -> None:
    torch.manual_seed(1)
    model = cast(Sr3 | Idm, build(TINY[kind]).eval())
    lr = to_float(np.stack([make_image(seed=s) for s in range(3)]), torch.device("cpu"))
    sampler = SamplerConfig(steps=4, eta=eta, seed=4)
    together = sampled(model, lr, (9, 12), sampler)
    for i in range(3):
        alone = sampled(model, lr[i : i + 1], (9, 12), sampler)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-3, atol=1e-3)
    assert together.abs().max() <= 1


def test_a_perfect_denoiser_is_followed_to_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that knows the noise of a given image leads the sampler to that image."""
    torch.manual_seed(1)
    model = cast(Sr3, build(TINY["sr3"]).eval())
    truth = normal([3], (3, 8, 8)).clamp(-1, 1)

    def perfect(x_t: torch.Tensor, level: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        level = level.float()[:, None, None, None]
        return (x_t - level * truth) / (1 - level**2).sqrt()

    monkeypatch.setattr(model, "forward", perfect)
    out = sampled(model, torch.zeros(1, 3, 4, 4), (8, 8), SamplerConfig(steps=5))
    torch.testing.assert_close(out, truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["edsr", "esrgan"])
def test_sizes_beside_the_factor_are_pillows_bicubic_of_the_output(kind: str) -> None:
    exact, other = answers(kind)(make_image(), [(14, 10), (9, 13)])
    expected = np.asarray(Image.fromarray(exact).resize((13, 9), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(other, expected)


def test_liif_is_rendered_in_bands_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answers("liif")(make_image(), [(40, 30)])[0]
    monkeypatch.setattr("lsr.inference.baselines.PIXELS_AT_ONCE", 100)
    calls: list[tuple[int, int]] = []
    render = Liif.render

    def counted(self: Liif, features: torch.Tensor, size: tuple[int, int], rows: tuple[int, int]) -> torch.Tensor:
        calls.append(rows)
        return render(self, features, size, rows)

    monkeypatch.setattr(Liif, "render", counted)
    np.testing.assert_allclose(answers("liif")(make_image(), [(40, 30)])[0].astype(int), whole.astype(int), atol=1)
    assert len(calls) == 14


def test_the_model_is_asked_in_eval_mode() -> None:
    model = build(TINY["idm"]).train()
    Executor(Comparator(model, TINY["idm"]))
    assert not model.training


@pytest.mark.parametrize(
    ("image", "sizes", "named"),
    [
        (make_image().astype(np.float32), [(4, 4)], "must be a numpy array of uint8"),
        (make_image()[..., :2], [(4, 4)], r"found \(7, 5, 2\)"),
        (make_image()[:0], [(4, 4)], "sides of at least 1"),
        (make_image(), [(0, 4)], "at least 1"),
        (make_image(), [(1 << 16, 1 << 16)], "at most"),
    ],
)
@pytest.mark.parametrize("kind", ["edsr", "liif", "idm"])
def test_what_is_no_image_or_no_size_is_rejected(
    kind: str, image: np.ndarray, sizes: list[tuple[int, int]], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        answers(kind)(image, sizes)
