"""A version's provenance is that of its trainings: every attempt that trained, and nobody who only read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lsr.core.refs import Ref
from lsr.engine.request import Request
from lsr.engine.table import PIPELINE, request_of
from lsr.recipes import load_recipe
from lsr.recipes.run import Run, TrainRun
from lsr.registry.lineage import Lineage
from lsr.stages import provenance
from lsr.stages.provenance import TRAINED, Log, attempts_of, lineage_of
from lsr.stages.trained import Trained
from lsr.store import Store, open_store
from lsr.store.actions import commit
from lsr.store.attempts import claim, owner_record
from lsr.store.content import put_blob
from lsr.training.checkpoints import Resume

RECIPE = load_recipe("short")
RUN = Run(name="test", train=TrainRun(workers=2, micro_batch=3))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def ref(name: str) -> Ref:
    return Ref(kind=name, key=name, digest=name.encode().hex().ljust(64, "0"), path=f"x/{name}.json")


def request(stage: str = "joint") -> Request:
    return request_of(PIPELINE[stage], RECIPE, RUN, {name: ref(name) for name in PIPELINE[stage].inputs})


def trained(store: Store, asked: Request, *, attempt: bool = True) -> Ref:
    """The recorded result of a training that this process carried out."""
    lease = claim(store, asked.key, asked.stage, owner=owner_record(), ttl=60.0)
    if attempt:
        finished(log(store, asked, lease.attempt.number), steps=20)
    lease.release("finished")
    result = Trained(
        kind=asked.stage,
        parents={},
        config=asked.config,
        system={},
        weights={"ema": put_blob(store, asked.stage.encode(), "safetensors")},
        steps=20,
        images_seen=160,
        metrics={},
    )
    return commit(store, asked.key, result.record())


def log(store: Store, asked: Request, attempt: int, world: str = "2", ids: dict[str, str] | None = None) -> Log:
    return Log(
        store,
        asked,
        attempt=attempt,
        submission=f"{asked.stage}-a{attempt}",
        environment={"world size": world, "device": "cpu AVX2"},
        ids=ids or {},
    )


def finished(one: Log, *, steps: int, resumed: tuple[Resume, ...] = ()) -> None:
    one.finish(steps=steps, images_seen=steps * 8, resumed_from=resumed)


def test_a_killed_attempt_and_the_one_that_went_on_are_both_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request()
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    log(store, asked, 1, world="4", ids={"ray_submission": "joint-a1"})
    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40)
    clock = iter((100.0, 104.0))
    monkeypatch.setattr(provenance.time, "monotonic", lambda: next(clock))
    finished(log(store, asked, 2), steps=20, resumed=(Resume(step=15, note="world size was 4 and is 2"),))
    killed, last = attempts_of(store, asked.key)
    assert (killed.commit, killed.environment["world size"], killed.ids) == (
        "a" * 40,
        "4",
        {"ray_submission": "joint-a1"},
    )
    assert (killed.steps, killed.seconds, killed.images_per_second) == (None, None, None)
    assert (last.commit, last.environment["world size"]) == ("b" * 40, "2")
    assert (last.from_step, last.steps, last.seconds) == (15, 20, 4.0)
    assert last.images_per_second == 5 * 8 / 4.0, "of this attempt's steps alone"
    assert last.resumed_from == [{"step": 15, "note": "world size was 4 and is 2", "run": ""}]
    assert (last.run["workers"], last.run["micro_batch"]) == (2, 3)
    assert last.packages == provenance.packages_digest()


def test_who_claimed_and_found_the_result_did_not_train(store: Store) -> None:
    asked = request()
    for _ in range(2):
        claim(store, asked.key, asked.stage, owner=owner_record(), ttl=60.0).release("finished")
    log(store, asked, 2)
    assert [one.attempt for one in attempts_of(store, asked.key)] == [2]
    assert attempts_of(store, "0" * 64) == []


def test_a_longer_run_names_the_shorter_one_that_it_went_on_from(store: Store) -> None:
    asked = request()
    shorter, longest = replace(asked, key="5" * 64), replace(asked, key="9" * 64)
    finished(log(store, shorter, 1), steps=10)
    taken = (Resume(step=10, run=shorter.key),)
    finished(log(store, asked, 1), steps=20, resumed=taken)
    finished(log(store, longest, 1), steps=30, resumed=(*taken, Resume(step=20, run=asked.key)))
    assert [one.key for one in attempts_of(store, longest.key)] == [shorter.key, asked.key, longest.key]
    assert [one.key for one in attempts_of(store, shorter.key)] == [shorter.key]


def lineage(store: Store, refs: dict[str, Ref]) -> Lineage:
    return lineage_of(store, RECIPE, refs, ids={"mlflow_run": "registering"}, weights=b"w")


def test_a_lineage_holds_the_trainings_of_every_stage_and_who_registered_it_apart(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    refs = {"evaluate": ref("evaluate"), **{stage: trained(store, request(stage)) for stage in TRAINED}}
    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40)
    found = lineage(store, refs)
    assert list(found.trainings) == ["autoencoder", "decoder", "denoise", "joint"]
    for stage, training in found.trainings.items():
        assert (training.result, training.steps, training.images_seen) == (refs[stage].digest, 20, 160)
        assert training.batch == getattr(RECIPE, stage).train.batch
        assert [one.commit for one in training.attempts] == ["a" * 40]
    assert (found.registration.commit, found.registration.ids) == ("b" * 40, {"mlflow_run": "registering"})
    assert found.inputs["evaluate"] == refs["evaluate"].digest


def test_what_is_not_on_record_is_not_made_up(store: Store) -> None:
    found = lineage(store, {stage: trained(store, request(stage), attempt=False) for stage in TRAINED})
    assert [list(training.attempts) for training in found.trainings.values()] == [[], [], [], []]


def test_measured_facts_do_not_touch_the_result(store: Store, tmp_path: Path) -> None:
    other: Any = open_store(f"file://{tmp_path}/other")
    assert trained(store, request()).digest == trained(other, request(), attempt=False).digest
