"""The protocol `per-image`: one LR for all scales, metrics of each image alone, the same regions every time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from lsr.core.config import check
from lsr.core.errors import ConfigError, InputError, IntegrityError, VersionMismatchError
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.controls import degraded, remembered, shuffled
from lsr.evaluation.protocol import Exhibit, Image, Size, bicubic, evaluate, reference_scale, resize
from lsr.evaluation.regions import choose_regions
from lsr.evaluation.rows import CEILING_DB, Evaluation, Row
from lsr.inference.executor import Executor
from lsr.metrics.lpips import MIN_SIDE
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, SystemConfig, UNetConfig
from lsr.models.system import LatentSystem

Photos = list[tuple[str, Image]]


def nearest(lr: Image, sizes: Sequence[Size]) -> list[Image]:
    """A worse upscaler than bicubic."""
    return [np.asarray(Pillow.fromarray(lr).resize((w, h), Pillow.Resampling.NEAREST)) for h, w in sizes]


def by_place(evaluation: Evaluation, system: str, metric: str) -> dict[tuple[str, int, float], float | None]:
    return {row.place: row.values[metric] for row in evaluation.rows if row.system == system}


def mean(evaluation: Evaluation, system: str, metric: str) -> float:
    values = [v for v in by_place(evaluation, system, metric).values() if v is not None]
    return float(np.mean(values))


def test_every_scale_is_asked_of_one_lr_image(photos: Photos, config: EvaluateConfig) -> None:
    asked: list[tuple[bytes, list[Size]]] = []

    def spy(lr: Image, sizes: Sequence[Size]) -> list[Image]:
        asked.append((lr.tobytes(), list(sizes)))
        return bicubic(lr, sizes)

    evaluation = evaluate(photos, {"ours": spy}, config)
    assert len(asked) == len({lr for lr, _ in asked}) == 4 * 2
    assert all(sizes == [(32, 32), (40, 40), (64, 64)] for _, sizes in asked)
    assert len(evaluation.rows) == 4 * 2 * 3 * 2


def test_photos_that_a_choice_was_made_on_can_be_skipped(photos: Photos, config: EvaluateConfig) -> None:
    keys = [key for key, _ in photos]
    rows = evaluate(photos, {}, replace(config, photos=2, skip=1)).rows
    assert list(dict.fromkeys(row.photo for row in rows)) == keys[1:3]
    with pytest.raises(InputError, match="No photo was given"):
        evaluate(photos, {}, replace(config, skip=len(photos)))
    with pytest.raises(ConfigError, match="skip must be greater than or equal to 0, found -1"):
        check(replace(config, skip=-1))


def test_values_follow_their_definitions(photos: Photos, config: EvaluateConfig) -> None:
    key, photo = photos[0]
    evaluation = evaluate([(key, photo)], {"ours": nearest}, replace(config, crops=1))
    (region,) = choose_regions(photo, crops=1, side=64)
    pixels = region.cut(photo)
    lr = resize(pixels, (16, 16))
    output, at_reference = nearest(lr, [(64, 64), (40, 40)])
    error = np.mean((output.astype(np.float64) - pixels) ** 2) / 255**2
    row = next(r for r in evaluation.rows if r.system == "ours" and r.scale == 4.0)
    assert row.values["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-4)
    back = np.asarray(Pillow.fromarray(output).resize((16, 16), Pillow.Resampling.BICUBIC), dtype=np.float64)
    assert row.values["lr_psnr"] == pytest.approx(-10 * np.log10(np.mean((back - lr) ** 2) / 255**2), abs=1e-4)
    from skimage.metrics import structural_similarity

    reduced = resize(output, (40, 40))
    expected = structural_similarity(
        reduced, at_reference, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert row.values["scale_ssim"] == pytest.approx(expected, abs=0.02)
    assert row.values["lpips"] is None


def test_scale_consistency_has_no_value_at_its_reference(photos: Photos, config: EvaluateConfig) -> None:
    assert reference_scale(config) == 2.5
    values = by_place(evaluate(photos[:1], {"ours": bicubic}, config), "ours", "scale_ssim")
    assert all((value is None) == (place[2] == 2.5) for place, value in values.items())


def test_equal_images_have_the_ceiling_not_infinity(config: EvaluateConfig) -> None:
    flat = np.full((80, 80, 3), 90, np.uint8)
    evaluation = evaluate([("flat", flat)], {"ours": bicubic}, config)
    assert {row.values["psnr"] for row in evaluation.rows} == {CEILING_DB}
    json.loads(evaluation.to_bytes())


def test_the_same_question_gives_the_same_bytes(photos: Photos, config: EvaluateConfig) -> None:
    one, two = (evaluate(photos[:2], {"ours": nearest}, config) for _ in range(2))
    assert one.to_bytes() == two.to_bytes()
    assert Evaluation.from_bytes(one.to_bytes(), "here") == one


def test_bicubic_beats_nearest_and_controls_lose(photos: Photos, config: EvaluateConfig) -> None:
    lrs: list[Image] = []
    evaluate(photos, {"ours": lambda lr, sizes: (lrs.append(lr), bicubic(lr, sizes))[1]}, config)
    systems = {"nearest": nearest, "degraded": degraded(bicubic), "shuffled": shuffled(bicubic, lrs)}
    evaluation = evaluate(photos, systems, config)
    for metric in ("psnr", "ssim"):
        assert mean(evaluation, "bicubic", metric) > mean(evaluation, "nearest", metric)
    for metric in ("psnr", "ssim", "lr_psnr"):
        assert mean(evaluation, "nearest", metric) > mean(evaluation, "degraded", metric)
        assert mean(evaluation, "bicubic", metric) > mean(evaluation, "shuffled", metric) + 0.1
    assert mean(evaluation, "degraded", "scale_ssim") < mean(evaluation, "bicubic", "scale_ssim")


def test_lpips_is_used_when_it_is_there(photos: Photos, config: EvaluateConfig) -> None:
    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))

    evaluation = evaluate(photos[:1], {"ours": bicubic}, config, lpips=distance, lpips_name="toy")
    assert all(row.values["lpips"] > 0 for row in evaluation.rows)
    assert evaluation.facts["lpips"] == "toy"
    with pytest.raises(InputError, match="weights are broken"):
        evaluate(photos[:1], {"ours": bicubic}, config, lpips=lambda a, b: torch.tensor([torch.nan]))


def test_images_are_shown_with_their_truth(photos: Photos, config: EvaluateConfig) -> None:
    shown: list[Exhibit] = []
    evaluate(photos[:1], {"ours": nearest}, config, show=shown.append)
    assert len(shown) == 2 * 3
    assert all(set(e.outputs) == {"bicubic", "ours"} and e.outputs["ours"].shape == e.truth.shape for e in shown)


def test_small_photos_are_noted_not_enlarged(config: EvaluateConfig) -> None:
    rng = np.random.default_rng(0)
    small, tiny = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (45, 12))
    evaluation = evaluate([("small", small), ("tiny", tiny)], {"ours": bicubic}, config)
    assert {row.scale for row in evaluation.rows} == {2.0, 2.5}
    assert {row.photo for row in evaluation.rows} == {"small"}
    assert ["small: its largest square has side 45" in n for n in evaluation.notes] == [True, False]
    assert "tiny: its short side 12 is below lr_side 16" in evaluation.notes[1]
    with pytest.raises(InputError, match="Nothing could be evaluated"):
        evaluate([("tiny", tiny)], {"ours": bicubic}, config)
    with pytest.raises(InputError, match="No photo was given"):
        evaluate([], {"ours": bicubic}, config)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda lr, sizes: bicubic(lr, sizes)[:-1], "one uint8 image"),
        (lambda lr, sizes: [i.astype(np.float32) for i in bicubic(lr, sizes)], "float32"),
        (lambda lr, sizes: bicubic(lr, [(h + 1, w) for h, w in sizes]), r"\[33, 32, 3\]"),
    ],
)
def test_a_system_that_breaks_its_contract_is_named(
    photos: Photos, config: EvaluateConfig, broken: object, said: str
) -> None:
    with pytest.raises(InputError, match=f"System ours.*{said}"):
        evaluate(photos[:1], {"ours": broken}, config)


def test_the_baselines_name_is_taken(photos: Photos, config: EvaluateConfig) -> None:
    with pytest.raises(InputError, match="bicubic is taken"):
        evaluate(photos, {"bicubic": nearest}, config)


def test_regions_are_the_detailed_ones_and_do_not_overlap() -> None:
    photo = np.full((100, 200, 3), 128, np.uint8)
    photo[20:60, 120:160] = np.random.default_rng(1).integers(0, 256, (40, 40, 3))
    first, second = choose_regions(photo, crops=2, side=40)
    assert (first.top, first.left) == (20, 120)
    assert abs(first.top - second.top) >= 40 or abs(first.left - second.left) >= 40
    flat = np.full((100, 200, 3), 128, np.uint8)
    assert [(r.top, r.left) for r in choose_regions(flat, crops=99, side=90)] == [(0, 0), (0, 110)]
    with pytest.raises(InputError, match="uint8"):
        choose_regions(photo.astype(np.float32), crops=1, side=8)


def test_rows_that_cannot_be_read_are_rejected() -> None:
    row = Row(photo="p", crop=0, scale=2.0, system="ours", values={"psnr": 20.0})
    data = Evaluation(protocol="per-image", facts={}, rows=(row,)).to_bytes()
    with pytest.raises(VersionMismatchError, match="format 2"):
        Evaluation.from_bytes(data.replace(b'"format":2', b'"format":1'), "here")
    with pytest.raises(IntegrityError, match="cannot be read"):
        Evaluation.from_bytes(data[:-5], "here")


def test_impossible_evaluations_are_rejected_before_they_start() -> None:
    with pytest.raises(ConfigError, match=r"at least 32 pixels.* found 31 at scale 1.94; raise lr_side"):
        check(EvaluateConfig(lr_side=16, scales=(1.94, 4.0)))
    check(EvaluateConfig(lr_side=16, scales=(MIN_SIDE / 16,)))
    with pytest.raises(ConfigError, match="sizes"):
        check(EvaluateConfig(sizes=()))


def test_a_model_measured_beside_its_degraded_copy_samples_once(photos: Photos, config: EvaluateConfig) -> None:
    asked: list[bytes] = []

    def model(lr: Image, sizes: Sequence[Size]) -> list[Image]:
        asked.append(lr.tobytes())
        return bicubic(lr, sizes)

    once = remembered(model)
    evaluation = evaluate(photos, {"ours": once, "degraded": degraded(once)}, config)
    assert len(asked) == len(set(asked)) == 8
    assert by_place(evaluation, "ours", "psnr") == by_place(evaluation, "bicubic", "psnr")


def test_a_latent_system_keeps_its_image_over_the_scales(photos: Photos, config: EvaluateConfig) -> None:
    """An untrained system knows nothing, but one latent decoded at all sizes agrees with itself; noise would not."""
    architecture = SystemConfig(
        autoencoder=AutoencoderConfig(channels=8, multipliers=(1, 1), blocks=1, latent_channels=2),
        renderer=RendererConfig(hidden=(8,)),
        unet=UNetConfig(channels=8, multipliers=(1,), blocks=1, attention_factors=(), head_channels=8),
        diffusion=DiffusionConfig(steps=10),
        base_scale=2,
    )
    torch.manual_seed(0)
    system = LatentSystem(architecture).eval()
    ours = Executor(system).upscaler(SamplerConfig(steps=2, seed=1))
    evaluation = evaluate(photos[:2], {"ours": ours}, replace(config, crops=1))
    assert mean(evaluation, "ours", "psnr") < mean(evaluation, "bicubic", "psnr") - 3
    assert mean(evaluation, "ours", "scale_ssim") > 0.8


def test_shuffling_needs_something_to_shuffle(photos: Photos) -> None:
    with pytest.raises(InputError, match="at least 2"):
        shuffled(bicubic, [photos[0][1]])
    with pytest.raises(InputError, match="not among"):
        shuffled(bicubic, [p for _, p in photos[:2]])(photos[2][1], [(8, 8)])
