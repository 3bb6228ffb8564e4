"""The README's image: photos in the evaluation's own order, every pixel as it was made."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from benchmarks.strip import GAP, LABEL, PANEL, chosen, strip
from lsr.core.errors import InputError
from lsr.evaluation.images import Exhibit


def exhibit(photo: str, scale: float, level: int = 0) -> Exhibit:
    flat = np.full((16, 16, 3), level, np.uint8)
    truth = np.full((32, 32, 3), 200, np.uint8)
    return Exhibit(
        photo=photo, crop=0, scale=scale, lr=flat, truth=truth, outputs={"ours": truth, "bicubic": truth - 10}
    )


SHOWN = [exhibit(photo, scale) for photo in "ba" for scale in (2.0, 4.0)]


def test_photos_come_in_turn_and_not_by_appearance() -> None:
    assert [(one.photo, one.scale) for one in chosen(SHOWN, (4.0, 2.0, 4.0))] == [("b", 4.0), ("a", 2.0), ("b", 4.0)]
    with pytest.raises(InputError, match=r"scale 3; name some of \[2.0, 4.0\]"):
        chosen(SHOWN, (3.0,))


def test_a_line_has_lr_bicubic_the_others_and_truth() -> None:
    sheet = np.asarray(Pillow.open(io.BytesIO(strip([exhibit("a", 2.0, level=7), exhibit("b", 2.0)]))))
    assert sheet.shape == (2 * (PANEL + LABEL + GAP) + GAP, 4 * (PANEL + GAP) + GAP, 3)
    panels = [sheet[GAP : GAP + PANEL, GAP + i * (PANEL + GAP) :][:, :PANEL] for i in range(4)]
    assert [int(np.unique(panel)[0]) for panel in panels] == [7, 190, 200, 200]
    assert all(len(np.unique(panel)) == 1 for panel in panels)
