"""Generation without a truth: noise, flat images and one repeated image are told from real tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lsr.core.errors import InputError
from lsr.evaluation.config import GateConfig, Rule
from lsr.evaluation.controls import corrupt
from lsr.evaluation.gate import judge
from lsr.evaluation.generation import evaluate_samples, spread, statistics
from lsr.evaluation.images import Image, resize, similarity
from lsr.evaluation.rows import Evaluation
from lsr.evaluation.verdict import Candidate
from lsr.report.tables import means

from .conftest import make_photo

SIZES = (48, 64, 80)
GATE = GateConfig(
    floor=(
        Rule(metric="tile_distance", reference="none", above=-2.5),
        Rule(metric="diversity", reference="none", above=0.4),
        Rule(metric="self_ssim", reference="none", above=0.8),
    )
)


@pytest.fixture(scope="module")
def tiles() -> list[Image]:
    return [make_photo(100 + i, 64, 64) for i in range(48)]


def at_sizes(images: list[Image]) -> list[list[Image]]:
    return [[resize(image, (side, side)) for side in SIZES] for image in images]


def decision(evaluation: Evaluation) -> str:
    who = Candidate(model="m", version=1, digest="1" * 64)
    return judge(evaluation, GATE, who, trained=(0.0, 10.0)).decision


def mean(evaluation: Evaluation, metric: str, system: str = "ours") -> float:
    found = [r.values[metric] for r in evaluation.rows if r.system == system and r.values[metric] is not None]
    return float(np.mean(found))


def test_images_like_the_tiles_pass(tiles: list[Image]) -> None:
    evaluation = evaluate_samples(at_sizes([make_photo(500 + i, 64, 64) for i in range(12)]), tiles)
    assert mean(evaluation, "tile_distance") < 2
    assert mean(evaluation, "tile_distance", "tiles") < 2
    assert 0.5 < mean(evaluation, "diversity") < 1.5
    assert decision(evaluation) == "PASS"
    assert {row.scale for row in evaluation.rows if row.values["self_ssim"] is None} == {1.0}


@pytest.mark.parametrize("kind", ["noise", "flat", "blurred noise"])
def test_what_an_untrained_model_draws_fails(tiles: list[Image], kind: str) -> None:
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(12)]
    if kind == "flat":
        made = [np.full((64, 64, 3), 100 + i, np.uint8) for i in range(12)]
    if kind == "blurred noise":
        made = [resize(resize(image, (16, 16)), (64, 64)) for image in made]
    evaluation = evaluate_samples(at_sizes(made), tiles)
    assert mean(evaluation, "tile_distance") > 3
    assert decision(evaluation) == "FAIL"


def test_a_corrupted_copy_fails_the_same_gate(tiles: list[Image]) -> None:
    samples = at_sizes([make_photo(500 + i, 64, 64) for i in range(12)])
    corrupted = [corrupt(sample, seed=i) for i, sample in enumerate(samples)]
    evaluation = evaluate_samples(samples, tiles, {"degraded": corrupted})
    renamed = [replace(r, system="ours") for r in evaluation.rows if r.system == "degraded"]
    assert decision(evaluation) == "PASS"
    assert decision(replace(evaluation, rows=tuple(renamed))) == "FAIL"
    with pytest.raises(InputError, match="other sizes"):
        evaluate_samples(samples, tiles, {"degraded": [s[:2] for s in corrupted]})


def test_one_image_drawn_many_times_fails_on_diversity(tiles: list[Image]) -> None:
    evaluation = evaluate_samples(at_sizes([tiles[0]] * 12), tiles)
    assert mean(evaluation, "diversity") == pytest.approx(0, abs=1e-6)
    assert decision(evaluation) == "FAIL"


def test_another_image_at_every_size_fails_on_self_similarity(tiles: list[Image]) -> None:
    samples = [[resize(make_photo(700 + 3 * i + k, 64, 64), (s, s)) for k, s in enumerate(SIZES)] for i in range(12)]
    evaluation = evaluate_samples(samples, tiles)
    assert mean(evaluation, "self_ssim") < 0.6
    assert decision(evaluation) == "FAIL"


def test_spread_is_the_mean_distance_from_the_others() -> None:
    black, grey = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 51, np.uint8)
    assert spread([black, grey, grey]) == pytest.approx([0.2, 0.1, 0.1])
    assert statistics(grey)[:3] == pytest.approx([0.2] * 3)


def test_unusable_samples_are_rejected(tiles: list[Image]) -> None:
    with pytest.raises(InputError, match="at least 16 real tiles, found 3"):
        evaluate_samples(at_sizes(tiles[:2]), tiles[:3])
    for samples in ([], [[tiles[0]], [tiles[0], tiles[1]]], [[tiles[0][:32]]]):
        with pytest.raises(InputError, match="same sizes"):
            evaluate_samples(samples, tiles)


def test_one_sample_has_no_diversity(tiles: list[Image]) -> None:
    evaluation = evaluate_samples(at_sizes(tiles[:1]), tiles)
    assert {row.values["diversity"] for row in evaluation.rows if row.system == "ours"} == {None}
    assert decision(evaluation) == "INCONCLUSIVE"


def test_the_size_matrix_is_the_whole_of_the_published_table(tiles: list[Image]) -> None:
    """Entry [i][j]: the image of size j, resized to size i, against the image of size i; 1 on the diagonal."""
    drawn = at_sizes([make_photo(700 + i, 64, 64) for i in range(3)])
    evaluation = evaluate_samples(drawn, tiles, matrix=True)
    sizes = [f"ssim_at_{side}x{side}" for side in SIZES]
    ours = {(mean.scale, mean.metric): mean.value for mean in means(evaluation) if mean.system == "ours"}
    matrix = [[ours[scale, size] for scale in sorted({scale for scale, _ in ours})] for size in sizes]
    for i, side in enumerate(SIZES):
        for j in range(3):
            expected = [similarity(resize(s[j], (side, side)), s[i]) if i != j else 1.0 for s in drawn]
            assert matrix[i][j] == pytest.approx(np.mean(expected), abs=1e-12)
    assert matrix[0][2] != pytest.approx(matrix[2][0], abs=1e-4), "not symmetric"
    assert not any(mean.metric.startswith("ssim_at_") for mean in means(evaluate_samples(drawn, tiles)))


def test_distances_of_samples_from_tiles_name_their_extractor_and_have_a_floor(tiles: list[Image]) -> None:
    def features(batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([batch.mean((2, 3)), batch.std((2, 3))], 1)

    good = at_sizes([make_photo(800 + i, 64, 64) for i in range(24)])
    controls = {"degraded": [corrupt(sample, seed=i) for i, sample in enumerate(good)]}
    evaluation = evaluate_samples(good, tiles, controls, extractors={"mobilenetv2": features})
    found = {(c.scale, c.system, c.metric): c.value for c in evaluation.aggregates}
    assert len(found) == 3 * 3 * 4
    for scale in {row.scale for row in evaluation.rows}:
        fd = {name: found[scale, name, "fd_mobilenetv2"] for name in ("ours", "degraded", "real")}
        assert 0 < fd["real"] < fd["degraded"]
        assert fd["ours"] < fd["degraded"]
