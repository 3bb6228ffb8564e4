"""What a card says follows from the recipe and the measured rows, for every kind of model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lsr.data.config import DegradationConfig
from lsr.evaluation.rows import Evaluation, Row
from lsr.recipes import load_recipe
from lsr.recipes.schema import Recipe
from lsr.stages.model_card import model_card


def rows(bicubic: float, ours: float, photos: int = 3) -> Evaluation:
    found = [
        Row(photo=f"p{n}", crop=0, scale=scale, system=system, values={"psnr": value})
        for n in range(photos)
        for scale, better in ((2.0, 0.0), (5.5, 2.0))
        for system, value in (("bicubic", bicubic + better), ("ours", ours))
    ]
    facts = {"scales": [2.0, 5.5], "trained": [1.0, 4.0], "lpips": None}
    return Evaluation(protocol="per-image", facts=facts, rows=tuple(found))


def section(card: str, name: str) -> list[str]:
    return card.split(f"## {name}\n\n")[1].split("\n\n")[0].splitlines()


def under(degradation: DegradationConfig) -> Recipe:
    recipe = load_recipe("demo")
    return replace(
        recipe,
        latents=replace(recipe.latents, degradations=(degradation,)),
        decoder=replace(recipe.decoder, residual=degradation),
    )


def test_a_clean_model_says_what_it_never_saw_and_where_bicubic_is_ahead() -> None:
    card = model_card("m", load_recipe("demo"), rows(30.0, 31.0), "CC0-1.0")
    assert section(card, "Domain") == [
        "- Trained on clean LR images: antialiased bicubic reduction by 4 of photos, with nothing added.",
        "- Trained output scale: x4 of the LR image's side.",
    ]
    assert section(card, "Limits") == [
        "- Never seen in training, so out of its domain: LR images with blur, noise and JPEG artefacts.",
        "- LR images made by another reduction (area, a camera's own) were not seen.",
        "- Measured on 3 held-out photos of the same source: too few for narrow intervals.",
        "- Measured, but out of the trained range: x5.5.",
        "- Bicubic has the better psnr at x5.5.",
    ]
    assert "- training tiles: 96 x 96 px of photos reduced by 2" in card
    assert "- decoder renders: what is added to the bicubic enlargement" in card
    assert "| photos | CC0-1.0 | set:photos |" in card


def test_bicubic_is_not_blamed_on_a_model_that_is_ahead_and_many_photos_are_enough() -> None:
    limits = section(model_card("m", load_recipe("demo"), rows(20.0, 31.0, 24), "CC0-1.0"), "Limits")
    assert "- Measured on 24 held-out photos of the same source." in limits
    assert not [line for line in limits if "Bicubic" in line]


def test_a_blind_model_says_which_blur_noise_and_jpeg() -> None:
    blind = DegradationConfig(kind="area", factor=4, blur=(0.2, 2.0), noise=(1.0, 12.0), jpeg=(40, 90))
    card = model_card("m", under(blind), rows(30.0, 31.0), "CC0-1.0")
    assert section(card, "Domain")[0] == (
        "- Trained on degraded LR images, each in its own way: Gaussian blur of deviation 0.2 to 2 px of the photo, "
        "then antialiased area reduction by 4, then white noise of deviation 1 to 12 grey levels, then JPEG of quality "
        "40 to 90."
    )
    limits = section(card, "Limits")
    assert limits[:2] == [
        "- Stronger blur, noise and JPEG artefacts than above: out of its domain.",
        "- LR images made by another reduction (bicubic, a camera's own) were not seen.",
    ]
    assert "clean" not in card.split("## Training data")[1]


@pytest.mark.parametrize(
    ("degradation", "seen", "unseen"),
    [
        (DegradationConfig(factor=4, noise=(0.0, 5.0)), "noise", "blur and JPEG artefacts"),
        (DegradationConfig(factor=4, jpeg=(60, 95)), "JPEG artefacts", "blur and noise"),
        (DegradationConfig(factor=4, blur=(0.5, 1.0)), "blur", "noise and JPEG artefacts"),
    ],
)
def test_a_partly_blind_model_says_both(degradation: DegradationConfig, seen: str, unseen: str) -> None:
    limits = section(model_card("m", under(degradation), rows(30.0, 31.0), "CC0-1.0"), "Limits")
    assert limits[:2] == [
        f"- Never seen in training, so out of its domain: LR images with {unseen}.",
        f"- Stronger {seen} than above: out of its domain.",
    ]


def test_a_generator_speaks_of_neither_lr_images_nor_bicubic() -> None:
    values = {"self_ssim": 0.9, "tile_distance": 1.2, "diversity": 0.8}
    measured = tuple(
        Row(photo=f"s{n}", crop=0, scale=1.0, system=system, values=values)
        for n in range(4)
        for system in ("ours", "degraded")
    )
    evaluation = Evaluation(protocol="samples", facts={"tiles": 64, "fid": None}, rows=measured)
    card = model_card("m", load_recipe("demo-generate"), evaluation, "CC0-1.0")
    assert section(card, "Domain") == [
        "- Draws images from noise that resemble tiles of the source photos; it takes no prompt.",
        "- Trained output sides: 12 to 48 px.",
    ]
    assert section(card, "Limits") == [
        "- Measured on 4 samples against tiles of the same source, not against other images."
    ]
    assert "LR image" not in card


def test_data_of_unknown_licence_is_a_limit() -> None:
    recipe = load_recipe("demo")
    recipe = replace(recipe, source=replace(recipe.source, uri="/data/mine", name="mine"))
    card = model_card("m", recipe, rows(30.0, 31.0), "unknown")
    assert "- The licence of mine is not known to LSR: ask its owner before you share the weights." in card
    assert "| mine | unknown | /data/mine |" in card
