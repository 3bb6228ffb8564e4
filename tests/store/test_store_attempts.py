"""Attempts, leases and fenced pointers: one living maker, and a zombie's late write is rejected."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest

from lsr.core.errors import ConflictError, IntegrityError, LeaseLostError, RunFailedError, StoreError
from lsr.core.processes import mark
from lsr.store.attempts import RunningElsewhere, claim, keep_alive, owner_record
from lsr.store.owner import is_gone
from lsr.store.pointers import read_pointer, take_pointer, write_pointer
from lsr.store.records import read_record

KEY = "feedbeefcafe" + "0" * 52
ELSEWHERE = {"host": "another", "pid": 1, "pid_space": "elsewhere", "process_started": 0.0}
POINTER = f"runs/{KEY}/checkpoint.json"

HOLDS_A_LEASE = """
import sys, time
from lsr.store import open_store
from lsr.store.attempts import claim, keep_alive, owner_record
with keep_alive(claim(open_store(sys.argv[1]), sys.argv[2], "denoise", owner=owner_record(), ttl=3600)):
    print("held", flush=True)
    time.sleep(600)
"""


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def take(store, clock, owner=ELSEWHERE):
    return claim(store, KEY, "denoise", owner=owner, ttl=60, now=clock)


def test_the_first_attempt_names_its_ray_job_and_is_on_record(store, clock):
    lease = take(store, clock, owner_record())
    assert (lease.attempt.number, lease.attempt.fencing) == (1, 1)
    assert lease.attempt.submission_id == "denoise-feedbeefcafe-a1"
    record = json.loads(store.read(f"runs/{KEY}/attempt-1.json"))
    assert record["owner"]["pid"] == os.getpid()
    assert record["submission_id"] == lease.attempt.submission_id
    assert record["claimed_at"] == clock.seconds


def test_a_live_lease_is_told_apart_with_all_that_a_launcher_needs_to_attach(store, clock):
    first = take(store, clock)
    clock.seconds += 59
    with pytest.raises(RunningElsewhere, match=r"denoise-feedbeefcafe-a1 on host another, process 1; wait") as caught:
        take(store, clock)
    assert isinstance(caught.value, RunFailedError)
    assert caught.value.submission_id == first.attempt.submission_id
    assert caught.value.owner == ELSEWHERE
    assert caught.value.expires_at == 1_000_060.0


def test_an_expired_lease_gives_the_next_attempt_a_higher_fencing_number(store, clock):
    first = take(store, clock)
    clock.seconds += 60
    second = take(store, clock)
    assert second.attempt.number == 2
    assert second.attempt.fencing > first.attempt.fencing
    for call in (first.check, first.renew):
        with pytest.raises(LeaseLostError, match=r"a1 .*names denoise-feedbeefcafe-a2 .*must stop"):
            call()
    assert first.release("finished") is False
    second.check()


def test_a_renewed_lease_lives_on(store, clock):
    lease = take(store, clock)
    for _ in range(3):
        clock.seconds += 50
        lease.renew()
    with pytest.raises(RunningElsewhere):
        take(store, clock)
    clock.seconds += 70
    lease.renew()
    lease.check()


def test_a_released_lease_keeps_its_outcome_and_frees_the_action(store, clock):
    assert take(store, clock).release("failed") is True
    assert read_record(store, f"runs/{KEY}/lease.json")[0]["outcome"] == "failed"
    assert take(store, clock).attempt.number == 2


def test_one_of_8_claimers_gets_the_lease_and_all_others_are_sent_to_it(store, race, clock):
    results = race(8, lambda _: take(store, clock))
    winners = [result for result in results if not isinstance(result, Exception)]
    assert len(winners) == 1
    others = [result for result in results if isinstance(result, RunningElsewhere)]
    assert len(others) == 7
    assert {other.submission_id for other in others} == {winners[0].attempt.submission_id}
    assert [info.key for info in store.list(f"runs/{KEY}/attempt-")] == [f"runs/{KEY}/attempt-1.json"]


def test_of_two_claimers_of_a_dead_lease_one_wins(store, race, clock):
    take(store, clock)
    clock.seconds += 100
    results = race(2, lambda _: take(store, clock))
    assert sorted(isinstance(result, RunningElsewhere) for result in results) == [False, True]


@pytest.mark.slow
def test_a_killed_process_frees_its_lease_at_once(store):
    """SIGKILL: the lease has an hour to run, but its process is gone from this machine."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDS_A_LEASE, store.uri, KEY], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunningElsewhere) as caught:
            claim(store, KEY, "denoise", owner=owner_record(), ttl=60)
        assert caught.value.owner["pid"] == holder.pid
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        # Not yet reaped: a zombie in the kernel's sense is as dead.
        assert claim(store, KEY, "denoise", owner=owner_record(), ttl=60).attempt.number == 2
    finally:
        holder.kill()
        holder.communicate()
    assert holder.returncode == -signal.SIGKILL


def test_a_dead_process_on_this_machine_needs_no_waiting(store, clock):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    marked = mark(child.pid)
    assert marked is not None
    owner = {**owner_record(), **asdict(marked)}
    take(store, clock, owner)
    with pytest.raises(RunningElsewhere):
        take(store, clock)
    child.communicate(b"\n")
    assert take(store, clock).attempt.number == 2


def test_who_is_gone_and_of_whom_nothing_is_known():
    me = owner_record()
    assert not is_gone(me)
    assert is_gone({**me, "started": me["started"] - 1}), "the number now belongs to another process"
    assert is_gone({**me, "pid": 2**22 - 1}), "no such process"
    assert not is_gone({**me, "pid": 2**22 - 1, "space": "another container"})
    assert not is_gone({**me, "pid": None})
    assert not is_gone({})
    assert not is_gone({"host": me["host"], "pid": 2**22 - 1, "process_started": 1e9, "pid_space": me["space"]})


def test_the_owner_record_is_plain_and_tells_code_and_versions():
    record = owner_record()
    assert json.loads(json.dumps(record)) == record
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"lsr", "torch", "ray"} <= set(record["versions"])
    assert record["git"] is None or len(record["git"].removesuffix("-dirty")) == 40


def test_a_lost_reply_to_a_claim_is_no_reason_to_wait_for_oneself(counting, clock):
    """The store wrote the lease, only the answer said otherwise: by the holder's nonce it is known as our own."""

    def lose(*_):
        counting.after.clear()
        raise ConflictError("lost")

    counting.after["create"] = lose
    lease = take(counting, clock)
    assert lease.attempt.number == 1
    counting.after["replace"] = lose
    clock.seconds += 10
    lease.renew()
    lease.check()
    clock.seconds += 100
    counting.after["replace"] = lose
    assert take(counting, clock).attempt.number == 2


def test_numbers_go_on_after_somebody_deleted_the_lease(store, clock):
    """Ray would reject a submission id a second time, and a pointer would reject a lower fencing number."""
    first = take(store, clock)
    write_pointer(store, POINTER, {"step": 1}, first.attempt.fencing)
    store.delete(f"runs/{KEY}/lease.json")
    second = take(store, clock)
    assert second.attempt.number == 2
    assert take_pointer(store, POINTER, second.attempt.fencing) == {"step": 1}
    with pytest.raises(LeaseLostError):
        first.check()


def test_a_lease_that_is_no_lease_is_named(store, clock):
    store.write(f"runs/{KEY}/lease.json", b"garbage")
    with pytest.raises(IntegrityError, match=f"runs/{KEY}/lease.json must hold JSON"):
        take(store, clock)


def test_keep_alive_renews_through_an_outage_and_stops_with_its_block(counting, caplog):
    renewed = threading.Semaphore(0)
    trouble = [StoreError("the endpoint is away"), ConflictError("a race")]

    def before(*_):
        renewed.release()
        if trouble:
            raise trouble.pop(0)

    lease = claim(counting, KEY, "denoise", owner=ELSEWHERE, ttl=0.3)
    counting.before["replace"] = before
    with caplog.at_level(logging.WARNING), keep_alive(lease):
        for _ in range(4):
            assert renewed.acquire(timeout=30)
    assert "the endpoint is away" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease-")]
    calls = counting.calls["replace"]
    lease.check()
    assert counting.calls["replace"] == calls


def test_keep_alive_gives_up_a_lost_lease_and_the_holder_learns_it(store, clock, caplog):
    lease = take(store, clock)
    lease.ttl = 0.03
    clock.seconds += 100
    take(store, clock)
    with keep_alive(lease):
        thread = next(t for t in threading.enumerate() if t.name == "lease-denoise-feedbeefcafe-a1")
        thread.join(timeout=30)
        assert not thread.is_alive()
        with pytest.raises(LeaseLostError):
            lease.check()
    assert "must stop" in caplog.text


def test_a_pointer_moves_and_is_read_back(store):
    assert read_pointer(store, POINTER) is None
    write_pointer(store, POINTER, {"step": 100}, fencing=1)
    write_pointer(store, POINTER, {"step": 200}, fencing=1)
    assert read_pointer(store, POINTER) == {"step": 200}


def test_a_zombies_late_write_is_rejected(store, clock):
    """The old writer slept through its lease; the new one has taken the pointer but not yet moved it."""
    zombie = take(store, clock).attempt
    write_pointer(store, POINTER, {"step": 100}, zombie.fencing)
    clock.seconds += 100
    writer = take(store, clock).attempt
    assert take_pointer(store, POINTER, writer.fencing) == {"step": 100}
    with pytest.raises(LeaseLostError, match=rf"fencing number {writer.fencing}, this one has {zombie.fencing}"):
        write_pointer(store, POINTER, {"step": 110}, zombie.fencing)
    with pytest.raises(LeaseLostError):
        take_pointer(store, POINTER, zombie.fencing)
    assert read_pointer(store, POINTER) == {"step": 100}
    write_pointer(store, POINTER, {"step": 105}, writer.fencing)
    assert read_pointer(store, POINTER) == {"step": 105}


def test_a_pointer_can_be_taken_before_it_was_ever_written(store):
    assert take_pointer(store, POINTER, fencing=2) is None
    with pytest.raises(LeaseLostError):
        write_pointer(store, POINTER, {"step": 1}, fencing=1)
    assert read_pointer(store, POINTER) is None


@pytest.mark.parametrize("call", ["create", "replace"])
def test_a_zombie_that_is_overtaken_within_its_write_is_rejected(counting, call):
    """Between the zombie's reading of the pointer and its writing, the new writer moves it: the etag has changed."""
    if call == "replace":
        write_pointer(counting, POINTER, {"step": 1}, fencing=1)

    def overtake(*_):
        counting.before.clear()
        write_pointer(counting.inner, POINTER, {"step": 2}, fencing=2)

    counting.before[call] = overtake
    with pytest.raises(LeaseLostError):
        write_pointer(counting, POINTER, {"step": 3}, fencing=1)
    assert read_pointer(counting, POINTER) == {"step": 2}


def test_concurrent_writers_of_one_holder_do_not_fail(store, race):
    assert race(4, lambda i: write_pointer(store, POINTER, {"writer": i}, fencing=1)) == [None] * 4
    assert read_pointer(store, POINTER)["writer"] in range(4)


def test_a_retry_that_meets_its_own_write_is_done(counting):
    write_pointer(counting, POINTER, {"step": 1}, fencing=1)

    def lose(*_):
        counting.after.clear()
        raise ConflictError("lost")

    counting.after["replace"] = lose
    counting.calls.clear()
    write_pointer(counting, POINTER, {"step": 2}, fencing=1)
    assert counting.calls["replace"] == 1
    assert read_pointer(counting, POINTER) == {"step": 2}
