"""fit: one function in a group of processes, its small result, and its failures in one sentence."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lsr.cluster import capacity
from lsr.cluster.capacity import wait_for_room
from lsr.cluster.session import Session
from lsr.cluster.train import _first, fit, group_backend, worker_device
from lsr.core.errors import ConfigError, InputError, RunFailedError, TrainingStoppedError
from lsr.core.resources import Resources

# Workers are nested functions throughout: Ray sends those by value, so that no test module need be importable there.


def run(worker: Any, config: dict[str, Any], tmp_path: Path, **options: Any) -> dict[str, Any]:
    options = {"workers": 2, "name": tmp_path.name, "storage": str(tmp_path / "ray"), "temp": tmp_path} | options
    return fit(worker, config, **options)


def test_two_workers_are_two_processes_in_one_group(shared_ray: Session, tmp_path: Path) -> None:
    def worker(config: dict[str, Any], rank: int, world: int) -> dict[str, Any]:
        import os

        import torch

        total = torch.tensor([float(rank + 1)])
        torch.distributed.all_reduce(total)
        return {"total": total.item(), "backend": torch.distributed.get_backend(), "pid": os.getpid(), "got": config}

    result = run(worker, {"a": [1, 2]}, tmp_path)
    assert result["total"] == 3.0
    assert result["backend"] == "gloo"
    assert result["got"] == {"a": [1, 2]}
    assert [member["rank"] for member in result["workers"]] == [0, 1]
    pids = [member["pid"] for member in result["workers"]]
    assert len({*pids, os.getpid()}) == 3
    assert result["pid"] == pids[0], "the result is rank 0's"


def test_a_typed_error_of_one_rank_ends_the_run_at_once(shared_ray: Session, tmp_path: Path) -> None:
    """The other rank waits in a collective for ever; restarts are left, and would not help."""

    def worker(config: dict[str, Any], rank: int, world: int) -> None:
        import torch

        from lsr.core.errors import InputError

        if rank == 1:
            with open(config["attempts"], "a") as file:
                file.write("x")
            raise InputError("Shard 7 holds no image; rebuild it.")
        torch.distributed.barrier()

    attempts = tmp_path / "attempts"
    with pytest.raises(InputError, match=r"^Shard 7 holds no image; rebuild it\.$"):
        run(worker, {"attempts": str(attempts)}, tmp_path, max_failures=3)
    assert attempts.read_text() == "x"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_arrives_as_stopped(request: pytest.FixtureRequest, tmp_path: Path, workers: int) -> None:
    """In this process and out of Ray's workers alike."""

    def worker(config: dict[str, Any], rank: int, world: int) -> None:
        from lsr.core.errors import TrainingStoppedError

        raise TrainingStoppedError("The run saved its state after step 3 of 9.")

    if workers:
        request.getfixturevalue("shared_ray")
    with pytest.raises(TrainingStoppedError, match=r"^The run saved its state after step 3 of 9\.$"):
        run(worker, {}, tmp_path, workers=workers)


@pytest.mark.slow
def test_a_killed_worker_is_started_again(shared_ray: Session, tmp_path: Path) -> None:
    def worker(config: dict[str, Any], rank: int, world: int) -> dict[str, Any]:
        import os
        import signal
        from pathlib import Path

        import torch

        torch.distributed.barrier()
        killed = Path(config["killed"])
        if rank == 1 and not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        torch.distributed.barrier()
        return {"done": True}

    killed = tmp_path / "killed"
    result = run(worker, {"killed": str(killed)}, tmp_path, max_failures=1)
    assert result["done"]
    assert int(killed.read_text()) not in [member["pid"] for member in result["workers"]]


@pytest.mark.slow
def test_a_worker_that_always_dies_fails_the_run_in_words(shared_ray: Session, tmp_path: Path) -> None:
    def worker(config: dict[str, Any], rank: int, world: int) -> None:
        import os
        import signal

        import torch

        torch.distributed.barrier()
        if rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        torch.distributed.barrier()

    with pytest.raises(RunFailedError, match="died without a word"):
        run(worker, {}, tmp_path)


class Ended(BaseException):
    """What Prefect's handler raises is of no class that Ray's waits let through, either."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, KeyboardInterrupt), (signal.SIGTERM, Ended)],
)
def test_an_interrupt_ends_the_group(
    shared_ray: Session, tmp_path: Path, number: signal.Signals, raised: type[BaseException]
) -> None:
    """The session stays open for the next run; the group's processes are gone all the same."""

    def worker(config: dict[str, Any], rank: int, world: int) -> None:
        import os
        import time
        from pathlib import Path

        Path(config["folder"], f"pid-{rank}").write_text(str(os.getpid()))
        time.sleep(300)

    def interrupt(signum: int, frame: object) -> None:
        raise raised

    def send_when_both_run() -> None:
        while len(list(tmp_path.glob("pid-*"))) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, interrupt), signal.getsignal(signal.SIGINT)
    threading.Thread(target=send_when_both_run, daemon=True).start()
    try:
        with pytest.raises(raised):
            run(worker, {"folder": str(tmp_path)}, tmp_path)
        assert signal.getsignal(signal.SIGINT) is before[1], "Ray's own handler must not stay installed"
    finally:
        signal.signal(signal.SIGTERM, before[0])
    pids = [int(path.read_text()) for path in tmp_path.glob("pid-*")]
    until = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < until, "workers outlived the interrupted run"
        time.sleep(0.1)


def test_more_than_the_machine_has_is_rejected_before_waiting(shared_ray: Session, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"9 workers asks for 9 times 1 CPU at once; Ray on this machine has 4"):
        run(lambda config, rank, world: None, {}, tmp_path, workers=9)


def test_no_workers_runs_here_without_ray(tmp_path: Path) -> None:
    result = run(lambda config, rank, world: {"rank": rank, "world": world, "pair": (1, 2)}, {}, tmp_path, workers=0)
    assert result["rank"] == 0
    assert result["world"] == 1
    assert result["pair"] == [1, 2], "the result passes through JSON as it would between processes"
    assert result["workers"][0]["pid"] == os.getpid()


def test_no_workers_fails_with_the_same_errors(tmp_path: Path) -> None:
    def bug(config: dict[str, Any], rank: int, world: int) -> None:
        raise ValueError("a bug")

    with pytest.raises(RunFailedError, match=r"Run .* failed: ValueError: a bug"):
        run(bug, {}, tmp_path, workers=0)


def test_a_result_that_is_no_json_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="small dictionary of JSON values"):
        run(lambda config, rank, world: {"weights": object()}, {}, tmp_path, workers=0)


def test_the_first_cause_is_the_typed_error_then_the_death_then_the_earliest() -> None:
    from lsr.cluster.faults import WorkerError

    def fault(kind: str, typed: bool, when: float) -> WorkerError:
        return WorkerError(kind, "m", "", typed=typed, when=when, rank=0)

    late, early = fault("RuntimeError", False, 9.0), fault("ValueError", False, 3.0)
    typed, death = fault("InputError", True, 20.0), OSError("died")
    assert _first({0: late, 1: early}) is early
    assert _first({0: early, 1: death}) is death
    assert _first({0: early, 1: death, 2: typed}) is typed


def test_a_group_on_a_cluster_waits_for_room_and_ends(shared_ray: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would wait for ever."""
    monkeypatch.setattr(capacity, "_SLICE_SECONDS", 0.2)
    wanted = r"Run joint waited 1 s for 8 times 4 CPU, 1 GPU, which Ray did not grant: its nodes have 4 CPU, 0 GPU"
    with pytest.raises(RunFailedError, match=wanted):
        wait_for_room(Session(local=False), Resources(cpus=4, gpus=1), 8, within=1, what="Run joint")


def test_a_group_larger_than_this_machine_is_rejected_at_once(shared_ray: Session) -> None:
    with pytest.raises(
        ConfigError, match="asks for 2 times 1 CPU, 1 GPU at once; Ray on this machine has 4 CPU, 0 GPU"
    ):
        wait_for_room(shared_ray, Resources(gpus=1), 2, within=1, what="Run joint")


def test_a_worker_that_was_promised_a_gpu_and_sees_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, the training would take weeks without a word."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert worker_device(0).type == "cpu"
    with pytest.raises(ConfigError, match=r"each training worker 1 GPU .* sees none.*train\.worker\.gpus=0"):
        worker_device(1)
    assert (group_backend(0), group_backend(1)) == ("gloo", "nccl")
