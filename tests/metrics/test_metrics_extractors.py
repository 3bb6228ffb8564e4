"""Extractors: the networks against a second spelling, and their weights through files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from lsr.core.errors import InputError, IntegrityError
from lsr.metrics.extractors import Vgg16, extract, find_extractors
from lsr.metrics.mobilenet import STAGES, MobileNetV2


def shaken(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random weights that keep the signal alive, and batch norm statistics that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
            elif value.is_floating_point() and name.endswith("weight"):
                value.uniform_(0.8, 1.2, generator=generator)
            elif value.is_floating_point():
                value.normal_(0, 0.1, generator=generator)
    return module


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((images - mean.view(3, 1, 1)) / std.view(3, 1, 1)).double()


def slow_mobilenet(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Straight from the names of the checkpoint: convolution, batch norm in eval mode, ReLU6."""
    w = {name: value.double() for name, value in weights.items()}

    def conv(x: torch.Tensor, at: str, norm: str, stride: int = 1, groups: int = 1, relu: bool = True) -> torch.Tensor:
        x = F.conv2d(x, w[f"{at}.weight"], stride=stride, padding=w[f"{at}.weight"].shape[-1] // 2, groups=groups)
        scale = w[f"{norm}.weight"] / (w[f"{norm}.running_var"] + 1e-5).sqrt()
        x = (x - w[f"{norm}.running_mean"].view(-1, 1, 1)) * scale.view(-1, 1, 1) + w[f"{norm}.bias"].view(-1, 1, 1)
        return x.clamp(0, 6) if relu else x

    x = conv(normalised(images), "features.0.0", "features.0.1", stride=2)
    number = 1
    for expansion, _, blocks, first in STAGES:
        for block in range(blocks):
            at, stride, y, step = f"features.{number}.conv", first if block == 0 else 1, x, 0
            if expansion > 1:
                y, step = conv(y, f"{at}.0.0", f"{at}.0.1"), 1
            y = conv(y, f"{at}.{step}.0", f"{at}.{step}.1", stride, y.shape[1])
            y = conv(y, f"{at}.{step + 1}", f"{at}.{step + 2}", relu=False)
            x = x + y if stride == 1 and x.shape == y.shape else y
            number += 1
    return conv(x, "features.18.0", "features.18.1").mean((2, 3))


def slow_vgg(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    x = normalised(images)
    for i in range(13):
        if i in (2, 4, 7, 10):
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
        x = F.relu(F.conv2d(x, weights[f"conv.{i}.weight"].double(), weights[f"conv.{i}.bias"].double(), padding=1))
    return x.mean((2, 3))


@pytest.mark.parametrize(("build", "slow", "d"), [(MobileNetV2, slow_mobilenet, 1280), (Vgg16, slow_vgg, 512)])
def test_networks_compute_what_their_checkpoints_mean(build: type, slow: object, d: int) -> None:
    module, images = shaken(build(), 0), torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    found = module(images)
    assert found.shape == (2, d)
    assert found.std() > 1e-3
    torch.testing.assert_close(found.double(), slow(module.state_dict(), images), rtol=1e-3, atol=1e-4)


def test_mobilenet_has_the_published_number_of_parameters() -> None:
    """3,504,872 in all, as the checkpoint; 314 entries with the statistics of batch norm."""
    module = MobileNetV2()
    assert sum(p.numel() for p in module.parameters()) == 3_504_872
    assert len(module.state_dict()) == 314
    assert module.classifier(module(torch.rand(1, 3, 32, 32))).shape == (1, 1000)


def test_weights_are_found_in_the_cache_and_others_rejected(tmp_path: Path) -> None:
    assert find_extractors(tmp_path) == {}
    folder = tmp_path / "sets" / "extractors"
    folder.mkdir(parents=True)
    module = shaken(MobileNetV2(), 3)
    save_file(module.state_dict(), folder / "mobilenetv2.safetensors")
    found = find_extractors(tmp_path)
    assert list(found) == ["mobilenetv2"]
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(found["mobilenetv2"](images), module(images))
    save_file(module.state_dict(), folder / "vgg16.safetensors")
    with pytest.raises(IntegrityError, match="does not hold the weights of vgg16"):
        find_extractors(tmp_path)


def test_features_do_not_hang_on_the_batch() -> None:
    module, rng = shaken(Vgg16(), 4), np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 40, 3), dtype=np.uint8) for _ in range(5)]
    whole = extract(module, images, batch=5)
    assert whole.shape == (5, 512)
    np.testing.assert_allclose(extract(module, images, batch=2), whole, rtol=1e-4, atol=1e-5)
    single = module(torch.from_numpy(images[3]).permute(2, 0, 1)[None] / 255)
    np.testing.assert_allclose(whole[3], single[0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [[], [(32, 32), (32, 33)], [(31, 40)]])
def test_images_of_other_sizes_are_rejected(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(InputError, match="one size of at least 32 x 32"):
        extract(lambda x: x.mean((2, 3)), [np.zeros((*size, 3), np.uint8) for size in sizes])
