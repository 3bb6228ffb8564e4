"""A study's arithmetic against hand-made rows: pairing by photo, seeds averaged first, honest words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsr.core.errors import InputError
from lsr.evaluation.rows import Evaluation, Row
from lsr.report.study import Resampling, best, cell, converged, difference, metrics_in, scales_in
from lsr.report.study_page import Asked, answers, page

HOW = Resampling(resamples=500)
PHOTOS = ("a", "b", "c", "d")
BASE = {"a": 20.0, "b": 30.0, "c": 25.0, "d": 28.0}


def evaluation(label: str, gain: float, *, lpips: float | None = 0.3, photos: tuple[str, ...] = PHOTOS) -> Evaluation:
    """bicubic at BASE, the system `gain` dB above it, the same at every scale."""
    rows = []
    for photo in photos:
        for scale in (2.0, 4.0, 8.0):
            for system, psnr, distance in (("bicubic", BASE[photo], 0.4), (label, BASE[photo] + gain, lpips)):
                values = {"psnr": psnr, "lpips": distance, "scale_ssim": 0.99 if scale != 4.0 else None}
                rows.append(Row(photo=photo, crop=0, scale=scale, system=system, values=values))
    return Evaluation(protocol="per-image", facts={}, rows=tuple(rows))


MEASURED = {
    "edsr": [evaluation("edsr", 0.5), evaluation("edsr", 1.5)],
    "sr3": [evaluation("sr3", -4.0, lpips=0.6)],
    "ours": [evaluation("ours", 0.2, lpips=0.2)],
    "ours-unaligned": [evaluation("ours-unaligned", -0.3, lpips=0.35)],
    "ours-200": [evaluation("ours-200", 0.15, lpips=0.2)],
}
ASKED = Asked(
    own_scale=4.0,
    margins={"psnr": 0.1, "lpips": 0.01},
    floor=None,
    trained=(1.0, 4.0),
    aligned=[("ours", "ours-unaligned")],
    variants=[],
    few="ours",
    many="ours-200",
    lossless={"psnr": 0.1, "lpips": 0.01},
    learned=["edsr", "sr3", "ours"],
    elsewhere=[],
)


def test_a_cell_averages_seeds_first_and_shows_their_spread() -> None:
    one = cell(MEASURED, "edsr", 4.0, "psnr", HOW)
    assert one is not None
    assert one.interval.mean == pytest.approx(np.mean(list(BASE.values())) + 1.0)
    assert one.interval.n == len(PHOTOS), "photos are the unit, not photos times seeds"
    assert one.spread == pytest.approx(np.std([0.5, 1.5], ddof=1))
    alone = cell(MEASURED, "ours", 4.0, "psnr", HOW)
    assert alone is not None
    assert alone.spread is None
    assert cell(MEASURED, "ours", 4.0, "scale_ssim", HOW) is None


def test_a_difference_is_paired_and_signed_so_that_more_is_better() -> None:
    gain = difference(MEASURED, "edsr", "bicubic", "psnr", [2.0, 4.0], HOW)
    assert gain is not None
    assert (gain.low, gain.mean, gain.high) == pytest.approx((1.0, 1.0, 1.0)), "every photo gains the same"
    nearer = difference(MEASURED, "ours", "bicubic", "lpips", [4.0], HOW)
    assert nearer is not None
    assert nearer.mean == pytest.approx(0.2)


def test_two_systems_on_different_photos_are_not_compared() -> None:
    torn = {**MEASURED, "liif": [evaluation("liif", 1.0, photos=PHOTOS[:2])]}
    with pytest.raises(InputError, match="different photos"):
        difference(torn, "liif", "edsr", "psnr", [4.0], HOW)
    with pytest.raises(InputError, match="no system 'gan'"):
        cell(MEASURED, "gan", 4.0, "psnr", HOW)


def test_convergence_needs_one_margin_and_the_best_is_by_the_metrics_sense() -> None:
    assert converged(MEASURED, "edsr", 4.0, {"psnr": 0.1}, HOW)
    assert not converged(MEASURED, "edsr", 4.0, {"psnr": 1.1}, HOW)
    assert converged(MEASURED, "ours", 4.0, {"psnr": 5.0, "lpips": 0.1}, HOW)
    assert not converged(MEASURED, "sr3", 4.0, ASKED.margins, HOW)
    systems = ["bicubic", "edsr", "ours"]
    assert best(MEASURED, systems, 8.0, "psnr", HOW) == "edsr"
    assert best(MEASURED, systems, 8.0, "lpips", HOW) == "ours"
    assert best(MEASURED, systems, 8.0, "dists", HOW) is None
    assert metrics_in(MEASURED) == ["psnr", "lpips", "scale_ssim"]
    assert scales_in(MEASURED) == [2.0, 4.0, 8.0]


def test_the_page_claims_no_win_over_what_did_not_converge() -> None:
    said = answers(MEASURED, ASKED, HOW)
    assert said[0].startswith("Not converged (not better than bicubic at x4 by 0.1 psnr or 0.01 lpips): sr3.")
    assert not any(line.startswith("ours against sr3") for line in said)
    assert any(line.startswith("Best lpips: x2 ours, x4 ours, x8 ours") for line in said)
    assert "Alignment (ours against ours-unaligned), psnr out of range: +0.50 [+0.5000, +0.5000]." in said
    text = page("Study", MEASURED, ASKED, HOW, ["facts"])
    assert "| sr3 (not converged) |" in text
    assert "| ours | 25.95" in text


def test_a_floor_keeps_noise_with_a_low_lpips_from_counting_as_converged() -> None:
    measured = {**MEASURED, "noise": [evaluation("noise", -6.0, lpips=0.1)]}
    asked = replace(ASKED, learned=[*ASKED.learned, "noise"])
    assert "0.01 lpips): sr3." in answers(measured, asked, HOW)[0]
    (first, *rest) = answers(measured, replace(asked, floor=3.0), HOW)
    assert first.startswith("Not converged (not better than bicubic at x4 by 0.1 psnr or 0.01 lpips, or more than 3 dB")
    assert "sr3, noise." in first
    assert not any("noise" in line for line in rest if line.startswith(("Best", "ours against")))
    assert converged(measured, "noise", 4.0, ASKED.margins, HOW, floor=6.5)


def test_a_variant_is_held_against_ours_in_and_out_of_range_and_ours_against_no_variant() -> None:
    measured = {**MEASURED, "no-residual": [evaluation("no-residual", -0.8, lpips=0.25)]}
    asked = replace(ASKED, variants=[("no-residual", "ours")], learned=[*ASKED.learned, "no-residual"])
    said = answers(measured, asked, HOW)
    assert "Variant (no-residual against ours), psnr in range: -1.00 [-1.0000, -1.0000]." in said
    assert "Variant (no-residual against ours), lpips out of range: -0.0500 [-0.0500, -0.0500]." in said
    assert not any(line.startswith("ours against no-residual") for line in said)


def test_of_a_system_and_its_variants_the_lowest_lpips_over_all_scales_is_named() -> None:
    better = [evaluation("edsr-fast", 0.4, lpips=0.21), evaluation("edsr-fast", 0.4, lpips=0.19)]
    asked = replace(ASKED, variants=[("edsr-fast", "edsr")], learned=[*ASKED.learned, "edsr-fast"])
    (line,) = [one for one in answers({**MEASURED, "edsr-fast": better}, asked, HOW) if one.startswith("Of ")]
    assert line == "Of edsr, lowest lpips over all scales: edsr-fast (edsr 0.3000, edsr-fast 0.2000)."


@pytest.mark.parametrize(("gain", "word"), [(0.15, "nothing is lost"), (0.5, "not shown to lose nothing")])
def test_few_steps_lose_nothing_only_within_the_margin(gain: float, word: str) -> None:
    measured = {**MEASURED, "ours-200": [evaluation("ours-200", gain, lpips=0.2)]}
    line = next(one for one in answers(measured, ASKED, HOW) if one.startswith("ours against ours-200, psnr"))
    assert line.endswith(f"margin 0.1: {word}.")
