"""Fetching from the real registries with the real clients. Needs a network; a registry that is not there is a skip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.sets import get, resolve
from lsr.core.errors import NotFoundError
from lsr.metrics import find_lpips

pytestmark = pytest.mark.slow


def fetched(name: str, cache: Path) -> Path:
    try:
        return get(name, cache)
    except NotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.timeout(900)
def test_genuine_lpips_weights_arrive_and_give_the_pinned_values(tmp_path: Path) -> None:
    """Pinned with the code that also gives the authors' four values (tests/metrics): bicubic x4 of a cat's face."""
    fetched("lpips", tmp_path)
    with Image.open(resolve("photos", tmp_path) / "cat.jpg") as photo:
        truth = photo.convert("RGB").crop((100, 60, 228, 188))
    small = truth.resize((32, 32), Image.Resampling.BICUBIC).resize((128, 128), Image.Resampling.BICUBIC)
    a, b = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255 for image in (small, truth))
    for net, expected in (("alex", 0.38164), ("vgg", 0.34887)):
        metric = find_lpips(tmp_path, net)
        assert metric is not None
        # JPEG decoders may differ by one grey level.
        assert metric(a, b).item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "images"), [("faces", 158), ("web-photos", 108)])
def test_pictures_arrive_whole(tmp_path: Path, name: str, images: int) -> None:
    folder = fetched(name, tmp_path)
    pictures = [path for path in folder.iterdir() if path.name != "CREDITS.md"]
    assert len(pictures) == images
    for path in pictures:
        with Image.open(path) as image:
            image.load()
            assert min(image.size) >= 300
