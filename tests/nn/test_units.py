"""8-bit pixels to [-1, 1] and back."""

from __future__ import annotations

import torch

from lsr.nn.units import from_levels, to_bytes, to_levels


def test_every_level_comes_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    x = from_levels(levels)
    assert (x.dtype, x.min().item(), x.max().item()) == (torch.float32, -1.0, 1.0)
    assert torch.equal(to_bytes(x), levels)


def test_what_lies_outside_is_clipped_and_what_lies_between_is_rounded() -> None:
    x = torch.tensor([-9.0, -1.0 + 0.4 / 127.5, -1.0 + 0.6 / 127.5, 9.0])
    assert to_bytes(x).tolist() == [0, 0, 1, 255]
    assert torch.allclose(to_levels(x), torch.tensor([0.0, 0.4, 0.6, 255.0]), atol=1e-4)


def test_half_precision_is_rounded_in_full() -> None:
    x = from_levels(torch.arange(256, dtype=torch.uint8)).to(torch.bfloat16)
    wanted = ((x.double() + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(to_bytes(x), wanted)
