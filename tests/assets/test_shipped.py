"""The models that ship with the project: what their page says, and that they are better than bicubic."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lsr
from lsr.assets import MODELS, SHIPPED
from lsr.core.canonical import sha256_hex
from lsr.models.file import SUFFIX, ModelFile

PHOTOS = MODELS.parent / "photos"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_names_the_file_and_the_repository_can_hold_it(name: str) -> None:
    data = (MODELS / f"{name}{SUFFIX}").read_bytes()
    page = (MODELS / "README.md").read_text()
    assert sha256_hex(data) in page
    assert len(data) < 12 * 2**20
    held = ModelFile.from_bytes(data, name)
    assert "## Training data and licences" in held.card
    assert "unknown" not in re.findall(r"^\| .* \|$", held.card, re.MULTILINE)[-1]


def test_every_file_has_a_name() -> None:
    assert sorted(path.stem for path in MODELS.glob(f"*{SUFFIX}")) == sorted(SHIPPED)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("photo", ["cliff", "palace", "stairs"])
def test_photo_is_closer_to_the_truth_than_bicubic(photo: str, scale: int) -> None:
    """Photos that it was not trained on, their middle; PSNR of RGB in float64."""
    with Image.open(Path(PHOTOS, f"{photo}.jpg")) as opened:
        left, top = opened.width // 2 - 128, opened.height // 2 - 128
        whole = opened.convert("RGB").crop((left, top, left + 256, top + 256))
    small = whole.resize((256 // scale, 256 // scale), Image.Resampling.BICUBIC)
    truth = np.asarray(whole, dtype=np.float64)

    def psnr(image: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / np.mean((image.astype(np.float64) - truth) ** 2)))

    model = lsr.load("photo")
    ours = psnr(model.upscale(np.asarray(small), size=(256, 256)))
    assert ours > psnr(np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))) + 0.3
