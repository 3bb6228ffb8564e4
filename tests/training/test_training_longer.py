"""A training of another duration resumes from its sibling's checkpoint, with the bits of one that was never cut."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lsr.core.errors import TrainingStoppedError
from lsr.store import Store
from lsr.training.checkpoints import Checkpoints
from lsr.training.config import Cadence, TrainConfig
from lsr.training.loop import TrainResult
from tests.training.kit import Regression, digests
from tests.training.processes import fit_here, outcomes

Fit = Callable[..., TrainResult]

CONSTANT = TrainConfig(images=400, batch=8, warmup=40)
# Its rates begin to fall after 24 of its 40 steps, between two checkpoints of the cadence.
WSD = TrainConfig(images=320, batch=8, lr=0.01, warmup=40, schedule="wsd", cooldown=128)
CADENCE = Cadence(log=5, checkpoint=10)


def longer(config: TrainConfig, images: int = 560) -> TrainConfig:
    return replace(config, images=images)


def gone_on(result: TrainResult) -> list[tuple[int, str]]:
    return [(one.step, one.run) for one in result.resumed_from]


def stops_at(step: int) -> Callable[[], bool]:
    calls = iter(range(10**6))
    return lambda: next(calls) == step


@pytest.mark.parametrize(("config", "step"), [(CONSTANT, 50), (WSD, 24)], ids=["constant", "wsd"])
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "unrecorded"])
def test_a_longer_run_ends_with_the_bits_of_one_that_was_never_cut(
    fit: Fit, store: Store, config: TrainConfig, step: int, recorded: bool
) -> None:
    whole = fit(key="whole", config=longer(config))
    fit(key="short", config=config)
    if recorded:
        Checkpoints(store, "short", 1).finish(keep=True)
    objective = Regression(seed=99)
    raised = fit(objective, key="long", config=longer(config), siblings=["short"])
    assert digests(raised) == digests(whole)
    assert gone_on(raised) == [(step, "short")]
    assert objective.draws[0].step == step, "what the short run did is not done again"
    assert raised.resumed_from[0].note == ""
    assert raised.metrics.keys() == whole.metrics.keys()
    assert raised.metrics["loss"] == whole.metrics["loss"]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize(("config", "step"), [(CONSTANT, 50), (WSD, 24)], ids=["constant", "wsd"])
def test_on_several_processes_too(tmp_path: Path, store: Store, size: int, config: TrainConfig, step: int) -> None:
    def run(key: str, chosen: TrainConfig, siblings: tuple[str, ...] = ()) -> object:
        return outcomes(fit_here, size, tmp_path / key, store.uri, key, 1, chosen, CADENCE, 2, siblings)[0]

    run("short", config)
    whole = run("whole", longer(config))
    assert "value" in whole  # type: ignore[operator]
    assert run("long", longer(config), ("short",)) == whole
    pointer = json.loads(store.read("runs/long/checkpoint.json"))["value"]
    assert [(one["step"], one["run"]) for one in pointer["checkpoints"][0]["resumed_from"]] == [(step, "short")]


def test_a_chain_of_ever_longer_runs(fit: Fit) -> None:
    whole = fit(key="whole", config=longer(CONSTANT, 800))
    fit(key="a", config=CONSTANT)
    fit(key="b", config=longer(CONSTANT), siblings=["a"])
    last = fit(key="c", config=longer(CONSTANT, 800), siblings=["a", "b"])
    assert digests(last) == digests(whole)
    assert gone_on(last) == [(50, "a"), (70, "b")]


def test_another_cooldown_parts_from_the_same_stem(fit: Fit) -> None:
    """One long stable phase, cooled down from two places."""
    other = replace(longer(WSD), cooldown=64)
    fit(key="short", config=WSD)
    assert digests(fit(key="a", config=other, siblings=["short"])) == digests(fit(key="b", config=other))


@pytest.mark.parametrize("config", [CONSTANT, WSD], ids=["constant", "wsd"])
def test_a_run_that_was_stopped_is_gone_on_from(fit: Fit, config: TrainConfig) -> None:
    with pytest.raises(TrainingStoppedError):
        fit(key="short", config=config, stop_requested=stops_at(16))
    raised = fit(key="long", config=longer(config), siblings=["short"])
    assert gone_on(raised) == [(17, "short")]
    assert digests(raised) == digests(fit(key="whole", config=longer(config)))


def test_a_shorter_run_goes_on_from_a_longer_one_only_from_before_its_own_end(fit: Fit) -> None:
    with pytest.raises(TrainingStoppedError):
        fit(key="long", config=longer(CONSTANT), stop_requested=stops_at(44))
    short = fit(key="short", config=CONSTANT, siblings=["long"])
    assert gone_on(short) == [(45, "long")]
    fit(key="long", fencing=2, config=longer(CONSTANT))
    assert gone_on(fit(key="again", config=CONSTANT, siblings=["long"])) == []


def test_a_run_that_cools_down_ignores_what_lies_beyond_its_stem(fit: Fit) -> None:
    """The longer run's stable checkpoints at steps 40 and 50 have rates that the shorter one lowers."""
    with pytest.raises(TrainingStoppedError):
        fit(key="long", config=longer(WSD), stop_requested=stops_at(49))
    short = fit(key="short", config=WSD, siblings=["long"])
    assert gone_on(short) == []
    assert digests(short) == digests(fit(key="whole", config=WSD))


def test_under_cosine_nothing_is_gone_on_from(fit: Fit, store: Store) -> None:
    cosine = replace(CONSTANT, schedule="cosine")
    fit(key="short", config=cosine)
    raised = fit(key="long", config=longer(cosine), siblings=["short"])
    assert gone_on(raised) == []
    assert digests(raised) == digests(fit(key="whole", config=longer(cosine)))
    Checkpoints(store, "short", 1).finish(keep=True)
    assert list(store.list("runs/short/checkpoint/")) == []


def test_its_own_checkpoint_comes_first(fit: Fit) -> None:
    whole = fit(key="whole", config=longer(CONSTANT))
    fit(key="short", config=CONSTANT)
    with pytest.raises(TrainingStoppedError):
        fit(key="long", config=longer(CONSTANT), siblings=["short"], stop_requested=stops_at(5))
    resumed = fit(key="long", fencing=2, config=longer(CONSTANT), siblings=["short"])
    assert gone_on(resumed) == [(50, "short"), (56, "")]
    assert digests(resumed) == digests(whole)


@pytest.mark.parametrize("damage", ["file", "pointer", "gone"])
def test_damage_of_a_sibling_costs_time_and_not_the_run(
    fit: Fit, store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    fit(key="shorter", config=replace(CONSTANT, images=160))
    fit(key="short", config=CONSTANT)
    if damage == "pointer":
        store.write("runs/short/checkpoint.json", b"{")
    for info in list(store.list("runs/short/checkpoint/")) if damage != "pointer" else []:
        store.delete(info.key) if damage == "gone" else store.write(info.key, b"damaged")
    with caplog.at_level(logging.WARNING):
        raised = fit(key="long", config=longer(CONSTANT), siblings=["short", "shorter"])
    assert gone_on(raised) == [(20, "shorter")]
    assert digests(raised) == digests(fit(key="whole", config=longer(CONSTANT)))
    assert "of run short" in caplog.text


def test_going_on_with_other_micro_batches_is_not_bit_exact_and_says_so(
    fit: Fit, caplog: pytest.LogCaptureFixture
) -> None:
    fit(key="short", config=CONSTANT)
    with caplog.at_level(logging.WARNING):
        raised = fit(key="long", config=longer(CONSTANT), siblings=["short"], micro_batch=4)
    assert raised.resumed_from[0].note == "not bit-exact: micro-batch was 2 and is 4"
    assert raised.metrics["bit_exact"] == 0.0
    assert "Stage test resumes from 400 images of run short, not bit-exact" in caplog.text


def test_a_finished_run_keeps_one_checkpoint_or_none(fit: Fit, store: Store) -> None:
    fit(key="short", config=WSD)
    kept = Checkpoints(store, "short", 1)
    kept.finish(keep=True)
    pointer = json.loads(store.read("runs/short/checkpoint.json"))["value"]
    assert [one["step"] for one in pointer["checkpoints"]] == [24], "the last one before the rates fall"
    files = {info.key for info in store.list("runs/short/checkpoint/")}
    assert files == set(pointer["checkpoints"][0]["parts"].values())
    kept.finish(keep=False)
    assert list(store.list("runs/short/checkpoint/")) == []
    assert gone_on(fit(key="long", config=longer(WSD), siblings=["short"])) == []
