"""The gate: intervals against bounds, equal images for champions, no pass without proof, no trained photos."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lsr.core.config import check
from lsr.core.errors import ConfigError, GateRejectedError, InputError, IntegrityError
from lsr.evaluation.bootstrap import bootstrap, by_photo
from lsr.evaluation.config import GateConfig, Rule
from lsr.evaluation.gate import in_words, judge, preflight, reject_leakage
from lsr.evaluation.rows import Evaluation, Row
from lsr.evaluation.verdict import Candidate, Verdict

NEW = Candidate(model="m", version=2, digest="2" * 64)
OLD = Candidate(model="m", version=1, digest="1" * 64)
TRAINED = (1.0, 4.0)


def evaluation(
    gain: float, *, metric: str = "psnr", spread: float = 0.1, photos: int = 8, scales: tuple[float, ...] = (2.0, 8.0)
) -> Evaluation:
    """`ours` is `gain` above bicubic on every photo, give or take `spread`; at x8 a whole unit less."""
    rng = np.random.default_rng(3)
    rows = []
    for photo in range(photos):
        for scale in scales:
            base = 20 + 5 * rng.standard_normal()
            ours = base + gain - (scale > 4) + spread * rng.standard_normal()
            for system, value in (("bicubic", base), ("ours", ours)):
                rows.append(Row(photo=f"p{photo}", crop=0, scale=scale, system=system, values={metric: float(value)}))
    return Evaluation(protocol="per-image", facts={}, rows=tuple(rows))


def gate(*rules: Rule, champion: tuple[Rule, ...] = ()) -> GateConfig:
    return GateConfig(floor=rules, against_champion=champion)


BEATS_BICUBIC = Rule(metric="psnr", reference="bicubic", above=0.0, scope="in-range")


@pytest.mark.parametrize(("gain", "decision"), [(1.0, "PASS"), (-1.0, "FAIL"), (0.0, "INCONCLUSIVE")])
def test_the_interval_decides(gain: float, decision: str) -> None:
    verdict = judge(evaluation(gain, spread=0.5), gate(BEATS_BICUBIC), NEW, trained=TRAINED)
    (line,) = verdict.lines
    assert verdict.decision == line.decision == decision
    assert line.low <= line.effect <= line.high
    assert line.n == 8


def test_pairs_make_small_gains_visible() -> None:
    """Photos differ by 5 dB; the difference to bicubic on the same photo does not."""
    assert judge(evaluation(0.2, spread=0.05), gate(BEATS_BICUBIC), NEW, trained=TRAINED).decision == "PASS"


@pytest.mark.parametrize(("scope", "expected"), [("in-range", 0.5), ("out-of-range", -0.5), ("all", 0.0)])
def test_scope_chooses_the_scales(scope: str, expected: float) -> None:
    rule = Rule(metric="psnr", reference="bicubic", above=0.0, scope=scope)
    (line,) = judge(evaluation(0.5, spread=0.0), gate(rule), NEW, trained=TRAINED).lines
    assert line.effect == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["lpips", "tile_distance"])
def test_the_sign_is_turned_where_less_is_better(metric: str) -> None:
    rule = Rule(metric=metric, reference="bicubic", above=0.0, scope="in-range")
    assert judge(evaluation(-1.0, metric=metric), gate(rule), NEW, trained=TRAINED).decision == "PASS"
    assert judge(evaluation(1.0, metric=metric), gate(rule), NEW, trained=TRAINED).decision == "FAIL"
    assert in_words(rule) == f"bicubic - {metric} > 0 (in-range)"
    bound = Rule(metric=metric, reference="none", above=-5.0)
    assert judge(evaluation(0.0, metric=metric), gate(bound), NEW, trained=TRAINED).decision == "FAIL"


def test_one_failed_rule_fails_and_one_open_rule_is_no_pass() -> None:
    sure, missing = BEATS_BICUBIC, Rule(metric="lpips", reference="bicubic", above=0.0)
    bad = Rule(metric="psnr", reference="none", above=1000.0)
    open_verdict = judge(evaluation(1.0), gate(sure, missing), NEW, trained=TRAINED)
    assert open_verdict.decision == "INCONCLUSIVE"
    assert "lsr data get lpips" in open_verdict.sentence()
    assert judge(evaluation(1.0), gate(sure, missing, bad), NEW, trained=TRAINED).decision == "FAIL"
    assert judge(evaluation(1.0), gate(), NEW, trained=TRAINED).decision == "INCONCLUSIVE"


def test_a_metric_missing_on_one_image_is_missing() -> None:
    found = evaluation(1.0)
    holed = Row(**{**_plain(found.rows[1]), "values": {"psnr": None}})
    rows = (found.rows[0], holed, *found.rows[2:])
    verdict = judge(Evaluation(protocol="p", facts={}, rows=rows), gate(BEATS_BICUBIC), NEW, trained=TRAINED)
    assert verdict.decision == "INCONCLUSIVE"
    assert "1 of 8 images" in verdict.lines[0].reason


def _plain(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in ("photo", "crop", "scale", "system", "values")}


def test_consistency_may_lack_its_reference_scale() -> None:
    rows = [
        Row(photo=f"p{p}", crop=0, scale=s, system="ours", values={"scale_ssim": None if s == 4 else 0.95})
        for p in range(3)
        for s in (2.0, 4.0)
    ]
    rule = Rule(metric="scale_ssim", reference="none", above=0.9)
    found = Evaluation(protocol="p", facts={}, rows=tuple(rows))
    assert judge(found, gate(rule), NEW, trained=TRAINED).decision == "PASS"
    alone = Evaluation(protocol="p", facts={}, rows=tuple(r for r in rows if r.scale == 4))
    assert "at least two scales" in judge(alone, gate(rule), NEW, trained=TRAINED).lines[0].reason


def test_one_photo_is_no_sample() -> None:
    verdict = judge(evaluation(5.0, photos=1), gate(BEATS_BICUBIC), NEW, trained=TRAINED)
    assert verdict.decision == "INCONCLUSIVE"
    assert "at least 2" in verdict.lines[0].reason
    assert any("1 photos are few" in note for note in verdict.notes)


def test_champion_rules_apply_once_there_is_a_champion() -> None:
    rule = Rule(metric="psnr", reference="champion", above=-0.2)
    config = gate(BEATS_BICUBIC, champion=(rule,))
    assert len(judge(evaluation(1.0), config, NEW, trained=TRAINED).lines) == 1
    better = judge(evaluation(1.0), config, NEW, trained=TRAINED, champion=OLD, champion_evaluation=evaluation(0.5))
    assert (better.decision, better.champion) == ("PASS", OLD)
    worse = judge(evaluation(1.0), config, NEW, trained=TRAINED, champion=OLD, champion_evaluation=evaluation(2.0))
    assert worse.decision == "FAIL"


def test_champion_and_candidate_must_have_seen_the_same_images() -> None:
    config = gate(BEATS_BICUBIC)
    with pytest.raises(InputError, match="not measured on the same images"):
        judge(
            evaluation(1.0), config, NEW, trained=TRAINED, champion=OLD, champion_evaluation=evaluation(1.0, photos=7)
        )
    with pytest.raises(ConfigError, match="together, or neither"):
        judge(evaluation(1.0), config, NEW, trained=TRAINED, champion=OLD)
    without = Evaluation(protocol="p", facts={}, rows=tuple(r for r in evaluation(1.0).rows if r.system != "ours"))
    with pytest.raises(InputError, match="no rows of system 'ours'"):
        judge(without, config, NEW, trained=TRAINED)


def test_photos_that_were_trained_on_make_no_verdict() -> None:
    reject_leakage(["a", "b"], ["c"])
    with pytest.raises(InputError, match=r"1 evaluation photo\(s\) are in the training set, e.g. b"):
        reject_leakage(["a", "b"], iter(["b", "c"]))


def test_a_gate_that_cannot_reject_is_void() -> None:
    assert preflight(evaluation(-3.0), gate(BEATS_BICUBIC), NEW, trained=TRAINED).decision == "FAIL"
    lax = Rule(metric="psnr", reference="none", above=-1000.0)
    with pytest.raises(GateRejectedError, match="came out PASS instead of FAIL"):
        preflight(evaluation(-3.0), gate(lax), NEW, trained=TRAINED)


def test_a_verdict_reads_back_and_explains_itself() -> None:
    verdict = judge(
        evaluation(1.0),
        gate(BEATS_BICUBIC, Rule(metric="lpips", reference="none", above=-0.3)),
        NEW,
        trained=TRAINED,
        champion=OLD,
        champion_evaluation=evaluation(1.0),
    )
    data = verdict.to_bytes()
    assert Verdict.from_bytes(data, "here").to_bytes() == data
    assert Verdict.from_bytes(data, "here").digest == verdict.digest
    assert json.loads(data)["gate"]["floor"][0]["metric"] == "psnr"
    page = verdict.markdown()
    assert "# Gate: INCONCLUSIVE" in page
    assert "| psnr - bicubic > 0 (in-range) | +" in page
    assert "not computed" in page
    with pytest.raises(IntegrityError, match="cannot be read"):
        Verdict.from_bytes(b"{}"[:1], "here")


def test_impossible_gates_are_rejected() -> None:
    with pytest.raises(ConfigError, match="confidence"):
        check(GateConfig(floor=(), confidence=1.0))


def test_the_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).gamma(2.0, size=25)
    ours = bootstrap(values, confidence=0.9, resamples=40_000, seed=1)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=40_000, method="percentile", rng=2
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_the_bootstrap_is_a_function_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal(10)
    one, two = (bootstrap(values, confidence=0.95, resamples=500, seed=7) for _ in range(2))
    assert one == two != bootstrap(values, confidence=0.95, resamples=500, seed=8)
    monkeypatch.setattr("lsr.evaluation.bootstrap.CHUNK", 70)
    assert bootstrap(values, confidence=0.95, resamples=500, seed=7) == one


@settings(max_examples=30)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12), st.floats(-5, 5))
def test_the_interval_holds_the_mean_and_moves_with_the_values(values: list[float], shift: float) -> None:
    array = np.array(values)
    here = bootstrap(array, confidence=0.95, resamples=200, seed=0)
    there = bootstrap(array + shift, confidence=0.95, resamples=200, seed=0)
    assert array.min() - 1e-9 <= here.low <= here.high <= array.max() + 1e-9
    assert there.low == pytest.approx(here.low + shift, abs=1e-9)


def test_images_of_one_photo_are_one_observation() -> None:
    """Ten crops of one photo are no ten photos: only its mean counts."""
    crops = [("a", float(v)) for v in range(10)] + [("b", 100.0)]
    assert by_photo(crops).tolist() == [4.5, 100.0]


def test_a_bootstrap_of_nothing_is_rejected() -> None:
    with pytest.raises(InputError, match="found 0"):
        bootstrap(np.array([]), confidence=0.95, resamples=10, seed=0)
    with pytest.raises(InputError, match="finite"):
        bootstrap(np.array([1.0, np.nan]), confidence=0.95, resamples=10, seed=0)
