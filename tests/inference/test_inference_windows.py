"""Windows cover everything, and blending what agrees changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lsr.core.errors import InputError
from lsr.inference.windows import Window, blend, starts

WINDOWS = st.integers(1, 12).flatmap(lambda side: st.builds(Window, st.just(side), st.integers(0, side - 1)))


@given(length=st.integers(1, 60), window=WINDOWS)
def test_windows_cover_and_overlap(length: int, window: Window) -> None:
    found = starts(length, window)
    side = min(length, window.side)
    assert set().union(*(range(s, s + side) for s in found)) == set(range(length))
    assert found == sorted(set(found))
    assert found[-1] + side == length
    assert all(a + side - b >= window.overlap for a, b in zip(found, found[1:]))  # noqa: RUF007 - reads as pairs


@given(height=st.integers(1, 30), width=st.integers(1, 30), window=WINDOWS)
def test_windows_that_agree_give_the_map_back(height: int, width: int, window: Window) -> None:
    whole = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height * 31 + width))
    blended = blend(lambda rows, columns: whole[..., rows, columns], (height, width), window)
    assert torch.allclose(blended, whole, atol=1e-5)


def test_two_windows_that_disagree_are_joined_by_a_ramp() -> None:
    """Windows 0..7 and 4..11 of values 0 and 1, overlapping by 4: the joint rises in equal steps."""

    def part(rows: slice, columns: slice) -> Tensor:
        return torch.full((1, 8), float(columns.start > 0))

    joined = blend(part, (1, 12), Window(8, 4))[0]
    assert joined.tolist() == pytest.approx([0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


def test_sides_are_rounded_up_to_the_factor() -> None:
    assert Window.of(9, 4) == Window(12, 3)
    assert Window.of(1, 1) == Window(1, 0)


@pytest.mark.parametrize(("side", "overlap"), [(4, 4), (4, -1), (0, 0)])
def test_impossible_windows_are_rejected(side: int, overlap: int) -> None:
    with pytest.raises(InputError, match="needs 0 <= overlap < side"):
        Window(side, overlap)
