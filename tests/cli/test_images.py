"""`lsr upscale` and `lsr generate`: what is asked on the command line reaches the network whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lsr.diffusion.config import SamplerConfig
from lsr.inference.executor import Executor
from lsr.inference.request import Target
from lsr.registry.versions import Version
from tests.cli.conftest import Ended
from tests.inference.kit import make_image
from tests.training.kit import tiny_system

Lsr = Callable[..., Ended]

# No field has its default, so that one that is forgotten shows.
ODD = SamplerConfig(name="ddim", steps=3, eta=0.7, seed=99)
OPTIONS = ("--steps", "3", "--eta", "0.7", "--seed", "99")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A registry of one model that upscales and one that generates; the names that were asked for."""
    torch.set_num_threads(1)
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    names: list[str] = []

    def load(settings: Any, name: str) -> tuple[Executor, Version]:
        names.append(name)
        system = tiny_system(conditional="generate" not in name)
        return Executor(system), Version(name=name, number=1, digest="d" * 64, files="f" * 64)

    monkeypatch.setattr("lsr.tools.images.load_named", load)
    return names


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(make_image(6, 5)).save(path)
    return path


@pytest.mark.parametrize(
    ("words", "target"),
    [(("--scale", "2.5"), Target(scale=2.5)), (("--size", "31x9"), Target(size=(9, 31)))],
)
def test_an_image_is_upscaled_as_asked(
    lsr: Lsr, tmp_path: Path, asked: list[str], image: Path, words: tuple[str, ...], target: Target
) -> None:
    output = tmp_path / "out.png"
    said = lsr("upscale", str(image), "-o", str(output), *words, *OPTIONS, "--json").json
    expected = Executor(tiny_system()).upscale(make_image(6, 5), target, ODD)
    np.testing.assert_array_equal(np.asarray(Image.open(output)), expected)
    assert said["output"] == f"{expected.shape[1]}x{expected.shape[0]}"
    assert asked == ["photo"]


def test_images_are_generated_as_asked(lsr: Lsr, tmp_path: Path, asked: list[str]) -> None:
    folder = tmp_path / "drawn"
    assert lsr("generate", "-o", str(folder), "--size", "20x16", "--count", "2", *OPTIONS).code == 0
    expected = Executor(tiny_system(conditional=False)).generate((16, 20), 2, ODD)
    for number in range(2):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"000099-{number:04d}.png")), expected[number])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give either a scale or a size, found neither"),
        (("--scale", "2", "--size", "8x8"), "Give either a scale or a size, found both"),
        (("--scale", "0"), "scale must be a finite number above 0, found 0.0"),
        (("--scale", "30000"), "An output may have at most"),
        (("--scale", "2", "--sampler", "dpm++", "--eta", "0.5"), "draws no noise, so eta must be 0, found 0.5"),
        (("--scale", "2", "--seed", "-1"), "seed must be greater than or equal to 0, found -1"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_model_is_loaded(
    lsr: Lsr, tmp_path: Path, asked: list[str], image: Path, words: tuple[str, ...], said: str
) -> None:
    ended = lsr("upscale", str(image), "-o", str(tmp_path / "out.png"), *words)
    assert ended.code in (2, 3)
    assert said in ended.sentence
    assert asked == []
    assert not (tmp_path / "out.png").exists()
