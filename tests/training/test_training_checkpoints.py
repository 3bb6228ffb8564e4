"""Checkpoints in the store: two are kept, damage is met by the one before, an older writer is rejected."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lsr.core.errors import IntegrityError, LeaseLostError, StoreError
from lsr.core.processes import process_token
from lsr.store import Store
from lsr.store.content import get_blob
from lsr.training.checkpoints import Checkpoint, Checkpoints, Resume, Tensors


def tensors(value: float) -> Tensors:
    return {part: {"w": torch.full((3,), value + i)} for i, part in enumerate(("weights", "ema", "optimiser"))}


def at(step: int) -> Checkpoint:
    return Checkpoint(step=step, environment={"torch": "2"}, resumed_from=(Resume(step=1),), metrics={"loss": 0.5})


def files(store: Store) -> list[str]:
    return [info.key for info in store.list("runs/k/checkpoint/")]


def test_the_newest_comes_back(store: Store) -> None:
    checkpoints = Checkpoints(store, "k", 1)
    assert checkpoints.newest() is None
    checkpoints.save(at(10), tensors(10))
    checkpoints.save(at(20), tensors(20))
    found = Checkpoints(store, "k", 2).newest()
    assert found is not None
    checkpoint, saved = found
    assert (checkpoint.step, checkpoint.metrics, checkpoint.resumed_from) == (20, {"loss": 0.5}, (Resume(step=1),))
    for part, values in tensors(20).items():
        assert torch.equal(saved[part]["w"], values["w"])


def test_two_are_kept_and_the_files_of_killed_saves_go(store: Store) -> None:
    store.write("runs/k/checkpoint/" + "0" * 64 + ".safetensors", b"left by a killed save")
    checkpoints = Checkpoints(store, "k", 1)
    checkpoints.newest()
    for step in (10, 20, 30, 40):
        checkpoints.save(at(step), tensors(step))
    value = json.loads(store.read("runs/k/checkpoint.json"))["value"]
    assert [one["step"] for one in value["checkpoints"]] == [40, 30]
    named = {key for one in value["checkpoints"] for key in one["parts"].values()}
    assert set(files(store)) == named
    assert len(named) == 6


def test_parts_with_equal_bytes_share_a_file_and_live_on(store: Store) -> None:
    """Step 30 has the bytes of step 10; deleting step 10 must not take them."""
    checkpoints = Checkpoints(store, "k", 1)
    for step, value in ((10, 1.0), (20, 5.0), (30, 1.0)):
        checkpoints.save(at(step), tensors(value))
    found = checkpoints.newest()
    assert found is not None
    assert torch.equal(found[1]["weights"]["w"], torch.ones(3))


@pytest.mark.parametrize("damage", ["changed", "gone", "truncated"])
def test_a_damaged_checkpoint_is_met_by_the_one_before(
    store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(store, "k", 1)
    checkpoints.save(at(10), tensors(10))
    checkpoints.save(at(20), tensors(20))
    newest = json.loads(store.read("runs/k/checkpoint.json"))["value"]["checkpoints"][0]
    key = newest["parts"]["optimiser"]
    data = store.read(key)
    if damage == "gone":
        store.delete(key)
    else:
        store.write(key, data[:-1] + b"\x55" if damage == "changed" else data[:-7])
    with caplog.at_level(logging.WARNING):
        found = Checkpoints(store, "k", 2).newest()
    assert found is not None
    assert found[0].step == 10
    assert "The checkpoint at step 20 cannot be used" in caplog.text


def test_after_falling_back_the_damaged_one_is_replaced(store: Store) -> None:
    first = Checkpoints(store, "k", 1)
    first.save(at(10), tensors(10))
    first.save(at(20), tensors(20))
    for key in files(store):
        if key in json.loads(store.read("runs/k/checkpoint.json"))["value"]["checkpoints"][0]["parts"].values():
            store.write(key, b"damaged")
    second = Checkpoints(store, "k", 2)
    assert second.newest()[0].step == 10  # type: ignore[index]
    second.save(at(20), tensors(20))
    found = Checkpoints(store, "k", 3).newest()
    assert found is not None
    assert found[0].step == 20


def test_no_sound_checkpoint_is_an_error_not_a_new_start(store: Store) -> None:
    checkpoints = Checkpoints(store, "k", 1)
    checkpoints.save(at(10), tensors(10))
    for key in files(store):
        store.write(key, b"not safetensors")
    with pytest.raises(IntegrityError, match=r"No checkpoint of .*runs/k/checkpoint\.json can be used; delete it"):
        Checkpoints(store, "k", 2).newest()


def test_a_zombie_moves_nothing_and_deletes_nothing(store: Store) -> None:
    zombie, heir = Checkpoints(store, "k", 1), Checkpoints(store, "k", 2)
    zombie.save(at(10), tensors(10))
    heir.newest()
    heir.save(at(20), tensors(20))
    before = set(files(store))
    with pytest.raises(LeaseLostError):
        zombie.save(at(30), tensors(30))
    assert before <= set(files(store))
    found = heir.newest()
    assert found is not None
    assert found[0].step == 20


def test_failing_to_delete_does_not_fail_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(store, "k", 1)

    def reject(key: str) -> None:
        raise StoreError("The store may not be deleted from.")

    monkeypatch.setattr(type(store), "delete", lambda self, key: reject(key))
    for step in (10, 20, 30):
        checkpoints.save(at(step), tensors(step))
    assert "were not deleted" in caplog.text
    found = checkpoints.newest()
    assert found is not None
    assert found[0].step == 30


def test_a_result_does_not_share_files_with_checkpoints(store: Store) -> None:
    """Another run with the same bytes may delete its old checkpoints; the published blob must stay."""
    checkpoints = Checkpoints(store, "k", 1)
    checkpoints.save(at(10), tensors(10))
    blob = checkpoints.publish(tensors(10)["ema"])
    for step in (20, 30):
        checkpoints.save(at(step), tensors(step))
    found = safetensors.torch.load(get_blob(store, blob.path))
    assert torch.equal(found["w"], torch.full((3,), 11.0))


def test_a_finished_run_keeps_no_checkpoint_and_still_rejects_a_zombie(store: Store) -> None:
    zombie, holder = Checkpoints(store, "k", 1), Checkpoints(store, "k", 2)
    holder.newest()
    holder.save(at(10), tensors(10))
    holder.finish(keep=False)
    assert files(store) == []
    with pytest.raises(LeaseLostError):
        zombie.save(at(20), tensors(20))
    assert Checkpoints(store, "k", 3).newest() is None


def test_a_zombie_clears_nothing_and_says_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    zombie, holder = Checkpoints(store, "k", 1), Checkpoints(store, "k", 2)
    holder.newest()
    holder.save(at(10), tensors(10))
    zombie.finish(keep=False)
    assert len(files(store)) == 3
    assert "were not cleared" in caplog.text


def test_temporary_folders_of_killed_processes_go_at_the_next_save(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pid, started, space = process_token().split(".")
    dead, living = f"{pid}.{int(started) - 1}.{space}", process_token()
    for name in (f"lsr-checkpoint-{dead}-a", f"lsr-checkpoint-{living}-b", "lsr-checkpoint-old", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"x")
    Checkpoints(store, "k", 1).save(at(10), tensors(10))
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != "store")
    assert left == sorted(["lsr-checkpoint-old", f"lsr-checkpoint-{living}-b", "other"])
