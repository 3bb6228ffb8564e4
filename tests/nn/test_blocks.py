"""The blocks' contracts: shapes, identity at the start, LDM's padding, attention's formula."""

from __future__ import annotations

import math

import pytest
import torch

from lsr.nn.blocks import Attention, Down, ResBlock, Up, norm
from lsr.nn.coords import feature_positions, pixel_centres
from lsr.nn.select import select
from lsr.nn.timestep import sinusoidal


@pytest.mark.parametrize(("channels", "groups"), [(128, 32), (160, 32), (224, 32), (64, 16), (24, 6), (8, 2), (3, 1)])
def test_norm_has_32_groups_or_for_narrow_layers_four_channels_a_group(channels: int, groups: int) -> None:
    assert norm(channels).num_groups == groups


def test_residual_branches_start_as_the_identity() -> None:
    x = torch.randn(2, 16, 6, 4)
    assert torch.equal(ResBlock(16, 16)(x), x)
    assert torch.equal(ResBlock(16, 16, embedding=8)(x, torch.randn(2, 8)), x)
    assert torch.equal(Attention(16, 8)(x), x)
    assert ResBlock(16, 24)(x).shape == (2, 24, 6, 4)


def test_time_embedding_reaches_each_sample_even_in_the_narrowest_block() -> None:
    """A norm of one channel a group would subtract it again."""
    block = ResBlock(8, 8, embedding=4).double()
    torch.nn.init.normal_(block.conv_out.weight)
    x, emb = torch.randn(2, 8, 5, 5, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    out = block(x, emb)
    assert not torch.allclose(out, block(x, torch.zeros_like(emb)))
    torch.testing.assert_close(block(x[1:], emb[1:]), out[1:])


def test_dropout_acts_in_training_only() -> None:
    block = ResBlock(8, 8, dropout=0.5)
    torch.nn.init.normal_(block.conv_out.weight)
    x = torch.randn(1, 8, 6, 6)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_down_pads_right_and_bottom_only() -> None:
    """Output pixel (i, j) sees input rows 2i..2i+2: a centre tap of the kernel reads the odd pixels."""
    down = Down(1)
    torch.nn.init.zeros_(down.conv.weight)
    torch.nn.init.zeros_(down.conv.bias)
    down.conv.weight.data[0, 0, 1, 1] = 1
    x = torch.randn(1, 1, 6, 8)
    assert torch.equal(down(x), x[:, :, 1::2, 1::2])


def test_up_repeats_pixels_before_its_convolution() -> None:
    up = Up(3)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(up(x), up.conv(x.repeat_interleave(2, -1).repeat_interleave(2, -2)))


def test_attention_is_softmax_over_all_pixels_in_each_head() -> None:
    attention = Attention(12, 4).double()
    torch.nn.init.normal_(attention.out.weight)
    x = torch.randn(2, 12, 3, 5, dtype=torch.float64)
    qkv = attention.qkv(attention.norm(x)).flatten(2)
    heads = []
    for head in range(3):
        q, k, v = (qkv[:, part * 12 + head * 4 : part * 12 + head * 4 + 4] for part in range(3))
        weights = torch.softmax(torch.einsum("bcq,bck->bqk", q, k) / math.sqrt(4), dim=-1)
        heads.append(torch.einsum("bqk,bck->bcq", weights, v))
    expected = x + attention.out(torch.cat(heads, dim=1).unflatten(2, (3, 5)))
    torch.testing.assert_close(attention(x), expected)


def test_pixel_centres_tile_the_interval_symmetrically() -> None:
    centres = pixel_centres(5)
    torch.testing.assert_close(centres, torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8], dtype=torch.float64))
    assert torch.equal(pixel_centres(11, 3, 7), pixel_centres(11)[3:7])


def test_feature_positions_meet_at_equal_sizes() -> None:
    """As many output as feature pixels: each output pixel sits on its feature. Twice as many: a quarter aside."""
    torch.testing.assert_close(feature_positions(4, 4), torch.arange(4, dtype=torch.float64))
    torch.testing.assert_close(feature_positions(4, 2), torch.tensor([-0.25, 0.25, 0.75, 1.25], dtype=torch.float64))


def test_sinusoidal_embedding_follows_its_formula() -> None:
    t, channels = torch.tensor([0, 1, 999]), 32
    frequencies = 10_000.0 ** (-torch.arange(16, dtype=torch.float64) / 16)
    angles = t[:, None] * frequencies
    expected = torch.cat([angles.cos(), angles.sin()], dim=1)
    torch.testing.assert_close(sinusoidal(t, channels).double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_select_has_the_values_and_gradients_of_indexing(dim: int) -> None:
    x = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 0, 2, 3, 1, 3, 3])
    upstream = torch.randn(*x.index_select(dim, index).shape, dtype=torch.float64)
    (expected,) = torch.autograd.grad(x.index_select(dim, index), x, upstream)
    (actual,) = torch.autograd.grad(select(x, dim, index), x, upstream)
    assert torch.equal(select(x, dim, index), x.index_select(dim, index))
    torch.testing.assert_close(actual, expected)
