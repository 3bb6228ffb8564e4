"""map_shards: results as they complete, failures that name the item, in this process and through Ray alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsr.cluster import capacity, shards
from lsr.cluster.capacity import holds
from lsr.cluster.session import Session
from lsr.cluster.shards import map_shards
from lsr.core.errors import ConfigError, InputError, RunFailedError
from lsr.core.resources import Resources


def _square() -> Callable[[int], int]:
    return lambda item: item * item


def _adder() -> Callable[[dict[str, int], int], tuple[int, int, int]]:
    def add(state: dict[str, int], item: int) -> tuple[int, int, int]:
        import os

        state["seen"] += 1
        return item + state["base"], state["seen"], os.getpid()

    return add


class _Held:
    def ready(self) -> None: ...


@pytest.fixture(params=[0, 2], ids=["here", "ray"])
def tasks(request: pytest.FixtureRequest) -> int:
    if request.param:
        request.getfixturevalue("shared_ray")
    return int(request.param)


def test_every_item_once_with_its_index(tasks: int) -> None:
    assert dict(map_shards(_square(), [3, 1, 4, 1, 5], tasks=tasks)) == {0: 9, 1: 1, 2: 16, 3: 1, 4: 25}


def test_no_items_no_results(tasks: int) -> None:
    assert list(map_shards(_square(), [], tasks=tasks)) == []


def test_setup_is_done_once_for_each_actor(tasks: int) -> None:
    found = dict(map_shards(_adder(), [1, 2, 3, 4, 5], tasks=tasks, setup=lambda: {"base": 10, "seen": 0}))
    assert [found[i][0] for i in range(5)] == [11, 12, 13, 14, 15]
    done = {pid: max(seen for _, seen, p in found.values() if p == pid) for *_, pid in found.values()}
    assert len(done) <= max(tasks, 1)
    assert sum(done.values()) == 5, "each state saw its own items, so it was kept between them"


def test_a_typed_failure_names_the_item_and_keeps_its_type(tasks: int) -> None:
    def reject(item: str) -> str:
        from lsr.core.errors import InputError

        if item == "b.tar":
            raise InputError("holds no image.")
        return item

    with pytest.raises(InputError, match=r"^Item 1 \(shard b\.tar\): holds no image\.$"):
        list(map_shards(reject, ["a.tar", "b.tar"], tasks=tasks, label=lambda item: f"shard {item}"))


def test_a_bug_names_the_item_too(tasks: int) -> None:
    with pytest.raises(RunFailedError, match=r"Item 0 \(0\): ZeroDivisionError"):
        list(map_shards(lambda item: 1 / item, [0], tasks=tasks))


def test_a_failing_setup_says_why(tasks: int) -> None:
    def setup() -> None:
        from lsr.core.errors import InputError

        raise InputError("No model at m.")

    with pytest.raises(InputError, match=r"No model at m\."):
        list(map_shards(lambda state, item: item, [1], tasks=tasks, setup=setup))


def test_a_failure_cancels_the_rest(shared_ray: Session, tmp_path: Path) -> None:
    def work(item: int) -> None:
        import time
        from pathlib import Path

        if item == 0:
            raise ValueError("first")
        time.sleep(3)
        Path(folder, str(item)).touch()

    folder = str(tmp_path)
    with pytest.raises(RunFailedError, match="first"):
        list(map_shards(work, list(range(8)), tasks=2))
    time.sleep(3.5)
    assert list(tmp_path.iterdir()) == []


def test_work_runs_ahead_by_no_more_than_asked(shared_ray: Session, tmp_path: Path) -> None:
    def work(item: int) -> int:
        from pathlib import Path

        Path(folder, str(item)).touch()
        return item

    folder = str(tmp_path)
    results = map_shards(work, list(range(10)), tasks=2)
    next(results)
    time.sleep(1.0)
    started = len(list(tmp_path.iterdir()))
    results.close()  # type: ignore[attr-defined]
    assert started <= 2


@pytest.mark.slow
@pytest.mark.parametrize("pool", [False, True], ids=["stateless", "with a state"])
def test_an_item_whose_process_died_is_done_again(shared_ray: Session, tmp_path: Path, pool: bool) -> None:
    def work(*arguments: Any) -> int:
        import os
        import signal
        from pathlib import Path

        item: int = arguments[-1]
        killed = Path(folder, f"killed-{item}")
        if item == 1 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    folder = str(tmp_path)
    setup = (lambda: None) if pool else None
    assert dict(map_shards(work, [0, 1, 2], tasks=2, setup=setup)) == {0: 0, 1: 1, 2: 2}
    assert (tmp_path / "killed-1").exists()


@pytest.mark.slow
@pytest.mark.parametrize("pool", [False, True], ids=["stateless", "with a state"])
def test_an_item_that_always_kills_its_process_is_named(shared_ray: Session, pool: bool) -> None:
    def work(*arguments: Any) -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    setup = (lambda: None) if pool else None
    with pytest.raises(RunFailedError, match=r"Item 0 \('a'\): its worker process died"):
        list(map_shards(work, ["a"], tasks=1, setup=setup, retries=1))


def test_a_pool_is_what_the_machine_holds(shared_ray: Session) -> None:
    """Eight are asked for, two fit on 4 CPUs; nine items pass through them."""

    def pid(state: int, item: int) -> int:
        import time

        time.sleep(0.3)
        return state

    def setup() -> int:
        import os

        return os.getpid()

    found = dict(map_shards(pid, list(range(9)), tasks=8, worker=Resources(cpus=2), setup=setup))
    assert len(found) == 9
    assert len(set(found.values())) == 2


def test_memory_is_reserved_too(shared_ray: Session) -> None:
    import ray

    whole = ray.cluster_resources()["memory"] / 2**30
    needs = Resources(cpus=0.1, memory_gib=0.6 * whole)
    assert holds(needs) == 1, "not two"
    assert dict(map_shards(_square(), [2, 3, 4], tasks=3, worker=needs)) == {0: 4, 1: 9, 2: 16}


def test_a_worker_larger_than_the_machine_is_rejected(shared_ray: Session) -> None:
    with pytest.raises(ConfigError, match=r"asks for 1 CPU, 1 GPU at once; Ray on this machine has 4 CPU, 0 GPU"):
        map_shards(_square(), [1], tasks=8, worker=Resources(gpus=1))


def test_a_map_on_a_cluster_waits_for_what_is_not_there_and_ends(
    shared_ray: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cluster may still grow, so that the map waits; it says for what, and gives up."""
    monkeypatch.setattr(shards, "current", lambda: Session(local=False))
    monkeypatch.setattr(capacity, "SAY_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(shards, "_SLICE_SECONDS", 0.2)
    wanted = r"waited 2 s for 1 CPU, 1 GPU, which Ray did not grant: its nodes have 4 CPU, 0 GPU"
    with pytest.raises(RunFailedError, match=wanted):
        list(map_shards(_square(), [1], tasks=8, worker=Resources(gpus=1), start_within=2))
    assert "A map over shards waits for 1 CPU, 1 GPU" in caplog.text


def test_items_go_to_workers_that_have_started_only(shared_ray: Session) -> None:
    """Four are to start, one cannot while another process holds its CPU: the map continues with three."""
    import ray

    held = ray.remote(num_cpus=1)(_Held).remote()
    ray.get(held.ready.remote())
    try:
        results = dict(map_shards(_square(), list(range(12)), tasks=4, start_within=120))
    finally:
        ray.kill(held)
    assert results == {i: i * i for i in range(12)}


def test_negative_tasks_are_rejected() -> None:
    with pytest.raises(ConfigError, match="found -1"):
        map_shards(_square(), [1], tasks=-1)
