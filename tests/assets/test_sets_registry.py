"""Fetching from the real registries with the real clients. Needs a network; a registry that is not there is a skip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lsr.assets import get, resolve
from lsr.core.errors import NotFoundError
from lsr.metrics import find_dists, find_lpips
from lsr.metrics.extractors import find_extractors
from lsr.metrics.mobilenet import MobileNetV2
from lsr.models.baselines.build import load
from lsr.models.baselines.config import EsrganConfig

pytestmark = pytest.mark.slow


def fetched(name: str, cache: Path) -> Path:
    try:
        return get(name, cache)
    except NotFoundError as error:
        pytest.skip(str(error))


def cat() -> tuple[torch.Tensor, torch.Tensor]:
    """A cat's face, [1, 3, 128, 128] in [0, 1], after bicubic x4 there and back, and as it is."""
    with Image.open(resolve("photos", Path()) / "cat.jpg") as photo:
        truth = photo.convert("RGB").crop((100, 60, 228, 188))
    small = truth.resize((32, 32), Image.Resampling.BICUBIC).resize((128, 128), Image.Resampling.BICUBIC)
    a, b = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255 for image in (small, truth))
    return a, b


@pytest.mark.timeout(900)
def test_genuine_dists_weights_arrive_and_give_the_pinned_value(tmp_path: Path) -> None:
    """Pinned with the code that also gives the value of the authors' pair (tests/metrics)."""
    fetched("dists", tmp_path)
    metric = find_dists(tmp_path)
    assert metric is not None
    assert metric(*cat()).item() == pytest.approx(0.27438, abs=2e-3)


@pytest.mark.timeout(900)
def test_genuine_extractors_arrive_and_know_a_cat(tmp_path: Path) -> None:
    """Class 285 of ImageNet is the Egyptian cat."""
    fetched("extractors", tmp_path)
    found = find_extractors(tmp_path)
    with Image.open(resolve("photos", tmp_path) / "cat.jpg") as photo:
        square = photo.convert("RGB").crop((75, 0, 375, 300)).resize((224, 224), Image.Resampling.BILINEAR)
    image = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None] / 255
    mobilenet = found["mobilenetv2"]
    assert isinstance(mobilenet, MobileNetV2)
    chances = mobilenet.classifier(mobilenet(image)).softmax(1)[0]
    assert chances.argmax() == 285
    assert chances[285].item() == pytest.approx(0.799, abs=0.03)
    assert found["vgg16"](image).mean().item() == pytest.approx(0.2875, abs=5e-3)


@pytest.mark.timeout(900)
def test_genuine_lpips_weights_arrive_and_give_the_pinned_values(tmp_path: Path) -> None:
    """Pinned with the code that also gives the authors' four values (tests/metrics): bicubic x4 of a cat's face."""
    fetched("lpips", tmp_path)
    a, b = cat()
    for net, expected in (("alex", 0.38164), ("vgg", 0.34887)):
        metric = find_lpips(tmp_path, net)
        assert metric is not None
        # JPEG decoders may differ by one grey level.
        assert metric(a, b).item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.timeout(900)
@torch.no_grad()
def test_genuine_realesrgan_weights_arrive_and_enlarge_a_cat(tmp_path: Path) -> None:
    """Pinned with the code whose output equals ncnn's own to 5e-6 (docs/comparators.md)."""
    weights = fetched("realesrgan", tmp_path) / "realesrgan-x4plus.safetensors"
    model = load(EsrganConfig(), weights.read_bytes(), str(weights))
    _, truth = cat()
    with Image.open(resolve("photos", tmp_path) / "cat.jpg") as photo:
        small = photo.convert("RGB").crop((100, 60, 228, 188)).resize((32, 32), Image.Resampling.BICUBIC)
    lr = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 127.5 - 1
    output = (model(lr) + 1) / 2
    assert (output - truth).abs().mean().item() == pytest.approx(0.04727, abs=1e-3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "images"), [("faces", 158), ("web-photos", 108)])
def test_images_arrive_whole(tmp_path: Path, name: str, images: int) -> None:
    folder = fetched(name, tmp_path)
    files = [path for path in folder.iterdir() if path.name != "CREDITS.md"]
    assert len(files) == images
    for path in files:
        with Image.open(path) as image:
            image.load()
            assert min(image.size) >= 300
