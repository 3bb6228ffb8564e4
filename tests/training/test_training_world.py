"""Several ranks: sums, equal results, and failing together. Two processes, forked once torch is imported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lsr.core.errors import RunFailedError
from lsr.training.config import TrainConfig
from lsr.training.world import World
from tests.training.processes import collectives, disagree, fail_inside, fail_training, metrics_here, outcomes

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def test_alone_nothing_is_communicated() -> None:
    flat = torch.ones(3)
    ALONE.sum_(flat)
    ALONE.broadcast_(flat)
    ALONE.barrier()
    ALONE.agree(None)
    assert flat.tolist() == [1, 1, 1]
    with pytest.raises(RunFailedError, match="the disk is full"):
        ALONE.agree("the disk is full")
    with pytest.raises(KeyError), ALONE.together():
        raise KeyError


def test_ranks_sum_and_follow_rank_0(tmp_path: Path) -> None:
    assert outcomes(collectives, 2, tmp_path / "a") == [{"value": [[3.0, 3.0], 10]}] * 2


def test_all_ranks_fail_with_the_first_cause(tmp_path: Path) -> None:
    found = outcomes(disagree, 3, tmp_path / "a")
    assert {one["message"] for one in found} == {"Rank 1 of 3 failed: the disk of rank 1 is full"}
    assert {one["error"] for one in found} == {"RunFailedError"}


def test_the_failing_rank_keeps_its_own_error(tmp_path: Path) -> None:
    found = outcomes(fail_inside, 2, tmp_path / "a")
    assert found[1] == {"error": "PermissionError", "message": "no entry"}
    assert found[0] == {"error": "RunFailedError", "message": "Rank 1 of 2 failed: PermissionError: no entry"}


@pytest.mark.parametrize(
    ("what", "messages"),
    [
        ("source", ["Rank 1 of 2 failed: OSError: shard 4 is damaged", "shard 4 is damaged"]),
        ("tracker", ["the tracking server is away", "Rank 0 of 2 failed: ConnectionError: the tracking server is"]),
        ("loss", ["Stage test, step 2: loss is nan", "Stage test, step 2: loss is nan"]),
        ("stop", ["saved its state after step 1 of 20"] * 2),
    ],
)
def test_what_one_rank_meets_in_training_all_hear(tmp_path: Path, what: str, messages: list[str]) -> None:
    found = outcomes(fail_training, 2, tmp_path / "a", f"file://{tmp_path}/store", what)
    for one, message in zip(found, messages, strict=True):
        assert message in one["message"]


def test_the_world_size_changes_no_more_than_rounding(tmp_path: Path) -> None:
    """The same batches, draws and updates at 1 and 2 ranks, of 3 and 4 images, which train on 2 at once."""
    config = TrainConfig(images=70, batch=7)
    store = f"file://{tmp_path}/store"
    alone, first, second = (
        outcomes(metrics_here, 1, tmp_path / "one", store, config, None)[0],
        *outcomes(metrics_here, 2, tmp_path / "two", store, config, 2),
    )
    assert second["value"] is None, "only rank 0 has a result"
    for name in ("loss", "grad_norm", "lr"):
        assert first["value"][name] == pytest.approx(alone["value"][name], rel=1e-5)
