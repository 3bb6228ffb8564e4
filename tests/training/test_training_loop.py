"""The loop: micro-batches, draws, metrics, stopping and resuming in one process."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from lsr.core.errors import ConfigError, IntegrityError, LeaseLostError, RunFailedError
from lsr.store import Store
from lsr.store.content import get_blob
from lsr.training.checkpoints import Checkpoints
from lsr.training.config import Cadence, TrainConfig
from lsr.training.loop import TrainResult
from lsr.training.protocols import Batch, Draws, TrainingStoppedError
from lsr.training.world import World
from tests.training.kit import RecordingTracker, Regression, VectorSource, digests

Fit = Callable[..., TrainResult]
CONFIG = TrainConfig(images=320, batch=8)
MICRO_BATCH = 2


class DeathError(Exception):
    """Stands for a process that ends at once: nothing is saved."""


def dies_at(step: int) -> Callable[[], bool]:
    """A stop flag that kills the process at step `step` of this process (from 0)."""
    calls = iter(range(10**6))

    def flag() -> bool:
        if next(calls) == step:
            raise DeathError
        return False

    return flag


def stops_at(step: int) -> Callable[[], bool]:
    calls = iter(range(10**6))
    return lambda: next(calls) == step


def parts_of(store: Store, *parts: str, key: str = "run") -> list[dict[str, Tensor]]:
    """Parts of a run's last state."""
    found = Checkpoints(store, key, 9).newest()
    assert found is not None
    return [found[1][part] for part in parts]


def test_training_lowers_the_loss_and_reports_it(fit: Fit) -> None:
    tracker = RecordingTracker()
    result = fit(config=replace(CONFIG, images=1600, lr=0.01), cadence=Cadence(log=5, checkpoint=200), tracker=tracker)
    last, losses = tracker.logged[200], [values["loss"] for _, values in sorted(tracker.logged.items())]
    assert np.mean(losses[-10:]) < 0.6 * losses[0]
    assert result.steps == 200
    assert result.images_seen == 1600
    assert result.metrics == last
    assert set(last) == {
        "loss",
        "error",
        "lr",
        "grad_norm",
        "images_per_second",
        "data_wait",
        "peak_rss_mib",
        "bit_exact",
    }
    assert 0 <= last["data_wait"] <= 1
    assert last["images_per_second"] > 0
    assert sorted(tracker.logged) == list(range(5, 201, 5))


def test_a_step_is_the_step_of_the_whole_batch(fit: Fit, store: Store) -> None:
    """Without draws, one step by micro-batches equals one AdamW step on the clipped mean loss of the global batch."""

    class Plain(Regression):
        def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
            error = (self.model(batch["x"]) - batch["y"]).square().mean()
            return error, {"error": error}

    config = replace(CONFIG, images=8, clip=0.05)
    fit(Plain(dropout=0.0), config=config)
    ours, moments = parts_of(store, "weights", "optimiser")
    model = Plain(dropout=0.0).model
    batch = VectorSource().batch(0, 8)
    (model(batch["x"]) - batch["y"]).square().mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    assert norm > 0.05, "the clip must matter"
    for name, parameter in model.named_parameters():
        # Adam's first step: both moments, corrected for their start, are the gradient and its square.
        stepped = parameter - config.lr * parameter.grad / (parameter.grad.abs() + 1e-8)
        assert torch.allclose(ours[name], stepped, atol=1e-6), name
        # The step does not depend on the gradient's length; its moments do.
        assert torch.allclose(moments[f"exp_avg.{name}"], 0.1 * parameter.grad, atol=1e-7), name


def test_the_micro_batch_changes_the_gradient_by_rounding_alone(fit: Fit) -> None:
    """3 does not divide 8: its last micro-batch is smaller and counts less."""
    config = replace(CONFIG, images=8)
    norms = [
        fit(Regression(dropout=0.0), key=f"of-{size}", config=config, micro_batch=size).metrics
        for size in (None, 1, 3, 4, 100)
    ]
    assert np.allclose([m["grad_norm"] for m in norms], norms[0]["grad_norm"], rtol=1e-5)
    assert np.allclose([m["loss"] for m in norms], norms[0]["loss"], rtol=1e-5)


def test_every_micro_batch_has_its_own_dropout(fit: Fit) -> None:
    objective = Regression()
    fit(objective, config=replace(CONFIG, images=3 * 8))
    seeds = [draws.dropout_seed() for draws in objective.draws]
    assert len(seeds) == len(set(seeds)) == 3 * 8 // MICRO_BATCH


def test_dropout_follows_from_step_and_first_place_alone(fit: Fit) -> None:
    """What else uses torch's generator between steps does not matter."""

    class Careless(VectorSource):
        def batch(self, start: int, stop: int) -> Batch:
            torch.rand(17)
            return super().batch(start, stop)

    assert digests(fit(key="a")) == digests(fit(key="b", source=Careless()))


def test_a_micro_batch_that_cuts_nothing_gives_the_bits_of_the_whole_share(fit: Fit) -> None:
    whole = fit(key="whole", micro_batch=None)
    assert digests(fit(key="same", micro_batch=8)) == digests(fit(key="more", micro_batch=9)) == digests(whole)
    assert digests(fit(key="cut", micro_batch=4)) != digests(whole), "dropout follows the micro-batch"


def test_resuming_with_another_micro_batch_says_not_bit_exact(fit: Fit) -> None:
    with pytest.raises(DeathError):
        fit(stop_requested=dies_at(11))
    resumed = fit(fencing=2, micro_batch=None)
    assert resumed.resumed_from[0].note == "not bit-exact: micro-batch was 2 and is 8"


def test_nothing_is_saved_of_batches_that_are_not_answered_for(fit: Fit, store: Store) -> None:
    class Unverified(VectorSource):
        verified = 0

        def verify(self) -> None:
            self.verified += 1
            if self.verified == 3:
                raise IntegrityError("The shard x.tar is corrupt.")

    source = Unverified()
    with pytest.raises(IntegrityError, match=r"x\.tar is corrupt"):
        fit(source=source)
    found = Checkpoints(store, "run", 1).newest()
    assert found is not None
    assert found[0].step == 20


def test_another_seed_gives_another_run(fit: Fit) -> None:
    assert digests(fit(key="a")) != digests(fit(key="b", seed=8))


@pytest.mark.parametrize("moment", [0, 9, 10, 11, 25, 39])
def test_a_run_that_died_ends_with_the_same_bits(fit: Fit, moment: int) -> None:
    """Weights, EMA and optimiser equal those of a run that was never killed, wherever the death was."""
    whole = fit(key="whole")
    with pytest.raises(DeathError):
        fit(key="killed", stop_requested=dies_at(moment))
    resumed = fit(key="killed", fencing=2)
    assert digests(resumed) == digests(whole)
    assert [one.step for one in resumed.resumed_from] == ([moment // 10 * 10] if moment >= 10 else [])
    assert all(not one.note for one in resumed.resumed_from)


def test_dying_again_and_again(fit: Fit) -> None:
    """The second of these four dies before it has saved anything, so the result does not descend from it."""
    whole = fit(key="whole")
    for fencing, moment in enumerate([12, 3, 10, 14], start=1):
        with pytest.raises(DeathError):
            fit(key="killed", fencing=fencing, stop_requested=dies_at(moment))
    resumed = fit(key="killed", fencing=9)
    assert digests(resumed) == digests(whole)
    assert [one.step for one in resumed.resumed_from] == [10, 20, 30]


def test_a_finished_run_is_not_trained_again(fit: Fit) -> None:
    first = fit()
    objective = Regression(seed=99)
    again = fit(objective, fencing=2)
    assert digests(again) == digests(first)
    assert objective.draws == []
    assert again.metrics == first.metrics


def test_a_stop_request_saves_and_says_so(fit: Fit) -> None:
    whole = fit(key="whole")
    with pytest.raises(TrainingStoppedError, match=r"asked to stop and saved its state after step 14 of 40"):
        fit(key="stopped", stop_requested=stops_at(13))
    resumed = fit(key="stopped", fencing=2)
    assert digests(resumed) == digests(whole)
    assert resumed.resumed_from[0].step == 14


def test_resuming_elsewhere_goes_on_and_says_not_bit_exact(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DeathError):
        fit(stop_requested=dies_at(11))
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    tracker = RecordingTracker()
    with caplog.at_level(logging.WARNING):
        resumed = fit(fencing=2, tracker=tracker)
    assert resumed.resumed_from[0].note.startswith("not bit-exact: torch was 2.")
    assert "and is 9.9.9" in resumed.resumed_from[0].note
    assert tracker.logged[15]["bit_exact"] == 0.0
    assert "not bit-exact" in caplog.text


def test_metrics_of_a_step_are_not_logged_twice(fit: Fit) -> None:
    """A killed process had logged up to step 15 and saved at step 10: the next one logs from step 20 on."""
    first, second = RecordingTracker(), RecordingTracker(seen=15)
    cadence = Cadence(log=5, image=5, checkpoint=10)
    with pytest.raises(DeathError):
        fit(tracker=first, cadence=cadence, stop_requested=dies_at(17))
    fit(tracker=second, cadence=cadence, fencing=2)
    assert sorted(first.logged) == [5, 10, 15]
    assert sorted(second.logged) == [20, 25, 30, 35, 40]
    assert sorted(second.images) == [20, 25, 30, 35, 40]


def test_metrics_are_those_of_the_run_never_killed(fit: Fit) -> None:
    whole, first, second = RecordingTracker(), RecordingTracker(), RecordingTracker(seen=15)
    fit(key="whole", tracker=whole)
    with pytest.raises(DeathError):
        fit(key="killed", tracker=first, stop_requested=dies_at(17))
    fit(key="killed", tracker=second, fencing=2)
    for step, values in {**first.logged, **second.logged}.items():
        for name in ("loss", "error", "lr", "grad_norm"):
            assert values[name] == whole.logged[step][name]


def test_a_loss_that_is_not_finite_names_stage_step_and_term(fit: Fit, store: Store) -> None:
    class Breaking(Regression):
        terms = ("good", "bad")

        def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
            good, _ = super().loss(batch, draws)
            bad = good * (math.nan if (draws.step, draws.first) == (12, 4) else 1.0)
            return good + bad, {"good": good, "bad": bad}

    with pytest.raises(RunFailedError, match=r"Stage test, step 12: loss is nan, bad is nan, gradient norm is nan"):
        fit(Breaking())
    found = Checkpoints(store, "run", 2).newest()
    assert found is not None
    assert found[0].step == 10
    assert all(torch.isfinite(t).all() for part in found[1].values() for t in part.values())


def test_a_gradient_that_is_not_finite_is_named(fit: Fit) -> None:
    class Steep(Regression):
        def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
            loss = (self.model(batch["x"]) * 0).abs().sqrt().mean()
            return loss, {"error": loss.detach()}

    with pytest.raises(RunFailedError, match=r"step 0: gradient norm is (nan|inf)"):
        fit(Steep())


def test_no_steps_gives_the_initial_weights(fit: Fit, store: Store) -> None:
    objective = Regression(seed=4)
    before = {name: value.clone() for name, value in objective.model.state_dict().items()}
    result = fit(objective, config=replace(CONFIG, images=0))
    found = safetensors.torch.load(get_blob(store, result.ema.path))
    assert found.keys() == before.keys()
    assert all(torch.equal(found[name], before[name]) for name in before)


def test_frozen_weights_stay_and_are_part_of_the_product(fit: Fit, store: Store) -> None:
    objective = Regression()
    objective.model[0].requires_grad_(False)
    before = objective.model[0].weight.clone()
    result = fit(objective, config=replace(CONFIG, images=15 * 8))
    for found in (*parts_of(store, "weights"), safetensors.torch.load(get_blob(store, result.ema.path))):
        assert torch.equal(found["0.weight"], before)
    assert "exp_avg.0.weight" not in parts_of(store, "optimiser")[0]


def test_bf16_autocast_trains_float32_weights(fit: Fit, store: Store) -> None:
    fp32 = fit(key="fp32")
    bf16 = fit(key="bf16", config=replace(CONFIG, precision="bf16"))
    assert digests(bf16) != digests(fp32)
    (found,) = parts_of(store, "weights", key="bf16")
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_an_older_writer_is_rejected(fit: Fit) -> None:
    fit(fencing=5)
    with pytest.raises(LeaseLostError):
        fit(fencing=4, config=CONFIG)


def test_more_processes_than_samples_are_rejected(fit: Fit) -> None:
    with pytest.raises(ConfigError, match="found 9 processes and a batch of 8; start fewer"):
        fit(world=World(rank=0, size=9, device=torch.device("cpu")))


def test_nothing_to_train_is_rejected(fit: Fit) -> None:
    objective = Regression()
    objective.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter with requires_grad"):
        fit(objective)


def test_torchs_switches_are_as_before(fit: Fit) -> None:
    seen: list[Any] = []

    class Observing(Regression):
        def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return super().loss(batch, draws)

    fit(Observing(), config=replace(CONFIG, images=8))
    assert seen
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()
