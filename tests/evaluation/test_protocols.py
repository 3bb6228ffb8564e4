"""Named protocols: each asks what it says, and the same outputs give other numbers under another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from lsr.core.config import check
from lsr.core.errors import ConfigError, InputError
from lsr.evaluation.config import EvaluateConfig, GateConfig, Rule
from lsr.evaluation.gate import judge
from lsr.evaluation.images import AnyImage, Image, Size, as_batch, bicubic, resize, resized, rounded
from lsr.evaluation.pooled import pooled_psnr, tiles_of
from lsr.evaluation.protocol import evaluate
from lsr.evaluation.protocols import PROTOCOLS, protocol_of, questions
from lsr.evaluation.rows import CEILING_DB, Aggregate, Evaluation
from lsr.evaluation.verdict import Candidate
from lsr.report.tables import markdown, means, summary

from .conftest import make_photo

Photos = list[tuple[str, Image]]


@pytest.fixture
def many() -> Photos:
    """Eleven photos of unequal difficulty: one batch of 8 and one of 3."""
    return [(f"photo{i:02d}", make_photo(i, 96, 130) // (1 + i % 4)) for i in range(11)]


def exact(lr: Image, sizes: Sequence[Size]) -> list[AnyImage]:
    """Bilinear in floating point: values between the levels of 8 bits."""
    pixels = as_batch(lr)
    out = [torch.nn.functional.interpolate(pixels, size, mode="bilinear") for size in sizes]
    return [x[0].permute(1, 2, 0).numpy() for x in out]


def value_of(evaluation: Evaluation, metric: str, system: str, scale: float) -> float | None:
    (found,) = [c.value for c in evaluation.aggregates if (c.metric, c.system, c.scale) == (metric, system, scale)]
    return found


def seed_a(config: EvaluateConfig) -> EvaluateConfig:
    return replace(config, protocol="seed-a", crops=1, photos=100)


def test_seed_a_is_system_as_evaluation_script_written_out_in_float64(many: Photos, config: EvaluateConfig) -> None:
    """Centre square -> output side -> LR; mean squared error of 8 images, then decibels, averaged by batch length."""
    evaluation = evaluate(many, {"ours": exact}, seed_a(config))
    for scale in config.scales:
        side, errors = round(16 * scale), []
        for _, photo in many:
            square = Pillow.fromarray(photo[:, 17:113]).resize((side, side), Pillow.Resampling.BICUBIC)
            lr = np.asarray(square.resize((16, 16), Pillow.Resampling.BICUBIC))
            output = exact(lr, [(side, side)])[0].astype(np.float64)
            errors.append(np.mean((output - np.asarray(square) / 255.0) ** 2))
        expected = 8 / 11 * -10 * math.log10(np.mean(errors[:8])) + 3 / 11 * -10 * math.log10(np.mean(errors[8:]))
        pooled = value_of(evaluation, "psnr_batch8", "ours", scale)
        assert pooled == pytest.approx(expected, abs=1e-5)
        alone = np.mean([-10 * math.log10(e) for e in errors])
        rows = [r.values["psnr"] for r in evaluation.rows if (r.system, r.scale) == ("ours", scale)]
        assert np.mean(rows) == pytest.approx(alone, abs=1e-4)
        assert pooled < alone - 0.5, "pooling weighs the hard images more"


def test_seed_a_makes_a_new_lr_for_every_scale(many: Photos, config: EvaluateConfig) -> None:
    asked: list[tuple[bytes, list[Size]]] = []

    def spy(lr: Image, sizes: Sequence[Size]) -> list[Image]:
        asked.append((lr.tobytes(), list(sizes)))
        return bicubic(lr, sizes)

    evaluation = evaluate(many[:1], {"ours": spy}, seed_a(config))
    assert [sizes for _, sizes in asked] == [[(32, 32)], [(40, 40)], [(64, 64)]]
    assert len({lr for lr, _ in asked}) == 3
    assert all(row.values["scale_ssim"] is None for row in evaluation.rows)
    assert "Protocol seed-a was published with 100 images; these are 1." in evaluation.notes


def test_rounding_is_part_of_the_protocol(many: Photos, config: EvaluateConfig) -> None:
    """One system, exact and rounded: other numbers under seed-a; per-image rejects what is not rounded."""

    def in_levels(lr: Image, sizes: Sequence[Size]) -> list[Image]:
        return [rounded(image) for image in exact(lr, sizes)]

    evaluation = evaluate(many[:2], {"ours": exact, "rounded": in_levels}, seed_a(config))
    one, other = ([r.values["psnr"] for r in evaluation.rows if r.system == name] for name in ("ours", "rounded"))
    np.testing.assert_allclose(one, other, atol=0.05)
    assert one != other
    with pytest.raises(InputError, match="must return one uint8 image"):
        evaluate(many[:1], {"ours": exact}, config)
    for wrong in (np.nan, -0.1, 1.1):
        with pytest.raises(InputError, match=r"must return finite values in \[0, 1\]"):
            evaluate(many[:1], {"ours": lambda lr, s, v=wrong: [np.full((*s[0], 3), v, np.float32)]}, seed_a(config))


def test_liif_full_measures_whole_images_without_their_border(config: EvaluateConfig) -> None:
    photo = make_photo(3, 101, 143)
    whole = replace(config, protocol="liif-full", scales=(2.0, 3.3), lr_side=1)
    check(whole)
    evaluation = evaluate([("p", photo)], {"ours": exact}, whole)
    for scale, lr_size, size, edge in ((2.0, (50, 71), (100, 142), 8), (3.3, (30, 43), (99, 142), 10)):
        truth = photo[: size[0], : size[1]]
        output = exact(resize(truth, lr_size), [size])[0].astype(np.float64)
        error = ((output - truth / 255.0) ** 2)[edge:-edge, edge:-edge].mean()
        (row,) = [r for r in evaluation.rows if (r.system, r.scale) == ("ours", scale)]
        assert row.values["psnr"] == pytest.approx(-10 * math.log10(error), abs=1e-4)
    assert evaluation.aggregates == ()
    tiny = evaluate([("p", photo), ("tiny", photo[:30, :30])], {"ours": exact}, whole)
    assert any("tiny: 30 x 30 pixels are too few at x3.3" in note for note in tiny.notes)


def test_the_default_is_per_image_and_measures_nothing_more(photos: Photos, config: EvaluateConfig) -> None:
    assert protocol_of(EvaluateConfig()).name == "per-image"
    evaluation = evaluate(photos[:1], {"ours": bicubic}, config)
    assert evaluation.aggregates == ()
    assert set(evaluation.rows[0].values) == {"psnr", "ssim", "lpips", "lr_psnr", "scale_ssim"}
    assert b'"aggregates"' not in evaluation.to_bytes()


def test_name_version_and_rules_are_recorded(many: Photos, config: EvaluateConfig) -> None:
    evaluation = evaluate(many[:2], {"ours": exact}, seed_a(config))
    again = Evaluation.from_bytes(evaluation.to_bytes(), "here")
    assert again == evaluation
    assert (again.protocol, again.version) == ("seed-a", 1)
    assert again.facts["protocol"]["pooled"] == 8
    assert "Protocol seed-a version 1" in summary(again)[0]
    assert Evaluation(protocol="per-image", facts={}, rows=()).version == 1


def test_the_gate_rejects_two_protocols(photos: Photos, config: EvaluateConfig) -> None:
    ours = evaluate(photos, {"ours": bicubic}, config)
    theirs = replace(ours, facts={**ours.facts, "protocol": {"version": 2}})
    gate = GateConfig(floor=(Rule(metric="psnr", reference="none", above=1.0),))
    who = Candidate(model="m", version=1, digest="1" * 64)
    judge(ours, gate, who, trained=(1.0, 4.0), champion=who, champion_evaluation=ours)
    with pytest.raises(InputError, match="per-image version 1 and per-image version 2"):
        judge(ours, gate, who, trained=(1.0, 4.0), champion=who, champion_evaluation=theirs)


def test_pooled_psnr_by_hand_and_never_above_the_mean() -> None:
    assert pooled_psnr([0.01, 0.03, 0.1], 2) == pytest.approx((2 * -10 * math.log10(0.02) + 10) / 3)
    assert pooled_psnr([0.0], 8) == CEILING_DB
    assert pooled_psnr([0.01, 0.0], 1) == pytest.approx((20 + CEILING_DB) / 2)
    with pytest.raises(InputError, match="found 0 and 8"):
        pooled_psnr([], 8)


def features(batch: torch.Tensor) -> torch.Tensor:
    """Five plain features: means of the colours, how much neighbours differ, contrast."""
    edges = batch.diff(dim=2).abs().mean((1, 2, 3))
    return torch.cat([batch.mean((2, 3)), 9 * edges[:, None], batch.std((1, 2, 3))[:, None]], 1)


def test_distances_between_sets_know_the_sharper_system_and_have_a_floor(
    photos: Photos, config: EvaluateConfig
) -> None:
    def truth_teller(lr: Image, sizes: Sequence[Size]) -> list[Image]:
        (found,) = {k: t for p in photos for k, q, t in questions(*p, wanted, []) if np.array_equal(q, lr)}.values()
        return list(found.values())

    wanted = replace(config, metrics=("mobilenetv2",), tile=32)
    systems = {"ours": truth_teller}
    evaluation = evaluate(photos, systems, wanted, extractors={"mobilenetv2": features, "vgg16": features})
    for scale in config.scales:
        fd = {name: value_of(evaluation, "fd_mobilenetv2", name, scale) for name in ("ours", "bicubic", "real")}
        assert fd["ours"] == pytest.approx(0, abs=1e-9)
        assert fd["bicubic"] > 1e-5
        assert fd["real"] > 0
        assert value_of(evaluation, "precision_mobilenetv2", "ours", scale) == 1
    assert not any("vgg16" in aggregate.metric for aggregate in evaluation.aggregates)
    assert evaluation.facts["tile"] == 32
    names = {(m.system, m.metric) for m in means(evaluation)}
    assert ("real", "kid_mobilenetv2") in names
    assert "| real |" in markdown(evaluation)


def test_too_few_tiles_say_so_instead_of_a_number(photos: Photos, config: EvaluateConfig) -> None:
    wanted = replace(config, metrics=("vgg16",), tile=64, crops=1)
    evaluation = evaluate(photos[:1], {"ours": bicubic}, wanted, extractors={"vgg16": features})
    assert {(c.metric, c.value) for c in evaluation.aggregates} == {("kid_vgg16", None)}


def test_a_metric_that_was_asked_for_and_not_given_is_an_error(photos: Photos, config: EvaluateConfig) -> None:
    with pytest.raises(InputError, match="asks for dists, vgg16 and was not given the weights"):
        evaluate(photos, {"ours": bicubic}, replace(config, metrics=("dists", "vgg16")))


def test_dists_is_measured_when_asked_for(photos: Photos, config: EvaluateConfig) -> None:
    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean((1, 2, 3))

    asked = evaluate(photos[:1], {"ours": bicubic}, replace(config, metrics=("dists",)), dists=distance)
    assert all(row.values["dists"] > 0 for row in asked.rows)
    assert "dists" not in evaluate(photos[:1], {"ours": bicubic}, config, dists=distance).rows[0].values


def test_every_protocol_describes_itself() -> None:
    assert {name: p.name for name, p in PROTOCOLS.items()} == {n: n for n in ("per-image", "seed-a", "liif-full")}
    assert [PROTOCOLS[n].margin(3.3) for n in ("per-image", "seed-a", "liif-full")] == [0, 0, 10]
    with pytest.raises(ConfigError, match="size_matrix compares outputs of one LR image"):
        check(EvaluateConfig(protocol="seed-a", metrics=("size_matrix",)))
    with pytest.raises(ConfigError, match="tile must be greater than or equal to 32"):
        check(EvaluateConfig(tile=31))


def test_tiles_cover_the_grid_from_the_top_left() -> None:
    image = np.arange(70 * 100 * 3, dtype=np.uint32).reshape(70, 100, 3).astype(np.uint8)
    tiles = tiles_of(image, 32)
    assert len(tiles) == 2 * 3
    np.testing.assert_array_equal(tiles[4], image[32:64, 32:64])
    assert tiles_of(image, 71) == []


def test_float_images_are_resized_by_the_same_kernel() -> None:
    image = make_photo(1, 60, 80)
    exactly = resized((image / 255).astype(np.float32), (24, 33))
    assert exactly.dtype == np.float32
    for colour in range(3):
        channel = Pillow.fromarray((image[..., colour] / 255).astype(np.float32))
        expected = np.asarray(channel.resize((33, 24), Pillow.Resampling.BICUBIC))
        np.testing.assert_allclose(exactly[..., colour], expected.clip(0, 1), atol=1e-5)
    assert rounded(exactly).dtype == np.uint8
    np.testing.assert_array_equal(resized(image, (24, 33)), resize(image, (24, 33)))


def test_aggregates_stay_with_the_evaluation() -> None:
    aggregate = Aggregate(scale=2.0, system="ours", metric="kid_vgg16", value=0.5, photos=3)
    evaluation = Evaluation(protocol="per-image", facts={}, rows=(), aggregates=(aggregate,))
    assert Evaluation.from_bytes(evaluation.to_bytes(), "here").aggregates == (aggregate,)
