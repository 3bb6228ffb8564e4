"""Reports: every system beside bicubic, its wins said in words, images that open."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageColor

from lsr.core.errors import InputError
from lsr.evaluation.protocol import Exhibit, bicubic
from lsr.evaluation.rows import Evaluation, Row
from lsr.report.sheet import BAR, GAP, LABEL, PANEL, WIDEST, contact_sheet, histogram, image_sheet
from lsr.report.tables import markdown, means, where_bicubic_wins


def row(photo: str, crop: int, scale: float, system: str, psnr: float, lpips: float | None = None) -> Row:
    return Row(photo=photo, crop=crop, scale=scale, system=system, values={"psnr": psnr, "lpips": lpips})


FACTS = {"scales": [2.0, 8.0], "trained": [1.0, 4.0], "lpips": None}
ROWS = (
    row("a", 0, 2.0, "bicubic", 20.0),
    row("a", 1, 2.0, "bicubic", 22.0),
    row("b", 0, 2.0, "bicubic", 31.0),
    row("a", 0, 2.0, "ours", 23.0),
    row("a", 1, 2.0, "ours", 23.0),
    row("b", 0, 2.0, "ours", 30.0),
    row("a", 0, 8.0, "bicubic", 19.0),
    row("a", 0, 8.0, "ours", 18.0),
)
EVALUATION = Evaluation(protocol="per-image", facts=FACTS, rows=ROWS, notes=("b: too small at x8.",))


def test_means_weigh_photos_not_crops() -> None:
    table = {(m.scale, m.system, m.metric): (m.value, m.photos) for m in means(EVALUATION)}
    assert table[(2.0, "bicubic", "psnr")] == (26.0, 2)
    assert table[(2.0, "ours", "psnr")] == (26.5, 2)
    assert table[(8.0, "ours", "lpips")] == (None, 0)


def test_bicubics_wins_are_said() -> None:
    assert where_bicubic_wins(EVALUATION) == ["psnr: bicubic is better at x8, and on 1 of 2 photos."]


def test_less_is_better_for_lpips() -> None:
    rows = (row("a", 0, 2.0, "bicubic", 1.0, 0.4), row("a", 0, 2.0, "ours", 1.0, 0.3))
    said = where_bicubic_wins(Evaluation(protocol="p", facts={}, rows=rows))
    assert said[1] == "lpips: bicubic is better at no scale, and on 0 of 1 photos."


def test_the_page_says_what_was_not_computed_and_what_is_out_of_range() -> None:
    page = markdown(EVALUATION, "Demo")
    assert page.startswith("# Demo\n\n| scale | system | psnr | lpips |")
    assert "| x2 | bicubic | 26.00 | not computed |" in page
    assert "out of range: x8" in page
    assert "LPIPS: not computed (`lsr data get lpips`)" in page
    assert "b: too small at x8." in page


def test_the_contact_sheet_has_a_line_an_image() -> None:
    rng = np.random.default_rng(0)
    truth, lr = (rng.integers(0, 256, (s, s, 3), dtype=np.uint8) for s in (48, 24))
    (up,) = bicubic(lr, [(48, 48)])
    exhibit = Exhibit(photo="p", crop=0, scale=2.0, lr=lr, truth=truth, outputs={"ours": truth, "bicubic": up})
    whole = Pillow.open(io.BytesIO(contact_sheet([exhibit, exhibit])))
    assert whole.width > 4 * PANEL
    assert whole.height > 2 * PANEL
    pixels = np.asarray(whole)
    nearest = np.asarray(Pillow.fromarray(truth).resize((PANEL, PANEL), Pillow.Resampling.NEAREST))
    step = PANEL + 4
    for column in (2, 3):
        left = 4 + column * step
        np.testing.assert_array_equal(pixels[4 : 4 + PANEL, left : left + PANEL], nearest)
    with pytest.raises(InputError, match="at least one image"):
        contact_sheet([])
    drawn = Pillow.open(io.BytesIO(image_sheet([[truth, lr]])))
    assert drawn.width > 2 * PANEL


def test_a_line_of_many_systems_goes_on_below() -> None:
    truth, lr = (np.full((s, s, 3), s, dtype=np.uint8) for s in (48, 24))
    levels = {f"s{n:02}": np.full((48, 48, 3), 100 + n, dtype=np.uint8) for n in range(12)}
    exhibit = Exhibit(photo="p", crop=0, scale=2.0, lr=lr, truth=truth, outputs=levels)
    pixels = np.asarray(Pillow.open(io.BytesIO(contact_sheet([exhibit]))))
    step_x, step_y = PANEL + GAP, PANEL + LABEL + GAP
    assert pixels.shape == (2 * step_y + GAP, WIDEST * step_x + GAP, 3)
    found = [int(pixels[y * step_y + GAP, x * step_x + GAP, 0]) for y in range(2) for x in range(WIDEST)]
    assert found == [24, *(100 + n for n in range(12)), 48, *[255] * 4]


def test_a_histogram_has_a_bar_per_count_as_high_as_its_share() -> None:
    drawn = histogram([0, 2, 4], [0.25, 0.5, 0.75, 1.0], "scale")
    bars = (drawn == ImageColor.getrgb("steelblue")).all(axis=2)
    heights = [int(bars[:, GAP + BAR * number].sum()) for number in range(3)]
    assert heights == [1, PANEL // 2 + 1, PANEL + 1]
