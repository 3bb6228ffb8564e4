"""Attempts and leases: one living maker for each action.

`runs/<key>/lease.json` says who works on action `key` and until when; whoever moves it by compare-and-swap is the
holder. `runs/<key>/attempt-<N>.json` keeps who attempt N was, and N is the fencing number with which the holder moves
the run's pointers (`lsr.store.pointers`): the lease keeps two makers from working, fencing rejects the writes of
a zombie.
Clocks of hosts that share a store must agree to within a third of the lease's time.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lsr.core.background import beside
from lsr.core.errors import ConflictError, IntegrityError, LeaseLostError, RunFailedError, StoreError
from lsr.store.base import Store
from lsr.store.content import create_once
from lsr.store.owner import is_gone, owner_record
from lsr.store.records import read_record, seal

__all__ = ["Attempt", "Lease", "RunningElsewhere", "claim", "is_living", "keep_alive", "owner_record"]

Clock = Callable[[], float]

_TRIES = 20
_LOG = logging.getLogger(__name__)


class RunningElsewhere(RunFailedError):  # noqa: N818 - not a fault: the caller waits for the other maker
    """Another living process makes this action. submission_id: its attempt. owner: its record. expires_at: seconds
    since the epoch at which its lease ends unless renewed.
    """

    def __init__(self, message: str, *, submission_id: str, owner: dict[str, Any], expires_at: float) -> None:
        super().__init__(message)
        self.submission_id = submission_id
        self.owner = owner
        self.expires_at = expires_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try at an action. number: 1, 2, ... submission_id: the name of its Ray job."""

    key: str
    number: int
    submission_id: str

    @property
    def fencing(self) -> int:
        """Higher than that of every earlier holder."""
        return self.number


class Lease:
    """The right to work on one action until `ttl` seconds after the last `renew`. Made by `claim`."""

    def __init__(
        self, store: Store, attempt: Attempt, record: dict[str, Any], etag: str, now: Clock, ttl: float
    ) -> None:
        self.attempt = attempt
        self.ttl = ttl
        self._store = store
        self._record = record
        self._etag = etag
        self._now = now
        self._mutex = threading.Lock()

    def renew(self) -> None:
        """Hold for `ttl` seconds from now. Raises LeaseLostError if another holder has taken over."""
        self._swap(expires_at=self._now() + self.ttl)

    def check(self) -> None:
        """Raises LeaseLostError if the store names another holder; call it before a write that cannot be undone."""
        found = read_record(self._store, _lease_key(self.attempt.key))
        if found is None or found[0]["holder"] != self._record["holder"]:
            raise self._lost(found[0] if found else None)

    def release(self, outcome: str) -> bool:
        """End the attempt; `outcome` ("finished", "failed") is kept. False if there was nothing left to release
        because another holder has taken over.
        """
        try:
            self._swap(held=False, outcome=outcome)
        except LeaseLostError:
            return False
        return True

    def _swap(self, **changes: Any) -> None:
        key = _lease_key(self.attempt.key)
        with self._mutex:
            record = {**self._record, **changes}
            for _ in range(_TRIES):
                try:
                    self._etag = self._store.replace(key, seal(record), self._etag)
                    self._record = record
                    return
                except ConflictError:
                    found = read_record(self._store, key)
                    if found is None or found[0]["holder"] != record["holder"]:
                        raise self._lost(found[0] if found else None) from None
                    self._etag = found[1]
        raise ConflictError(f"{self._store.uri}/{key} changed under each of {_TRIES} tries to renew it.")

    def _lost(self, record: Mapping[str, Any] | None) -> LeaseLostError:
        other = "nobody" if record is None else _describe(record)
        return LeaseLostError(
            f"Attempt {self.attempt.submission_id} has lost its lease: "
            f"{self._store.uri}/{_lease_key(self.attempt.key)} names {other}; this process must stop."
        )


def claim(store: Store, key: str, stage: str, *, owner: Mapping[str, Any], ttl: float, now: Clock = time.time) -> Lease:
    """Become the maker of action `key`: a new attempt with a lease of `ttl` seconds.

    owner: `owner_record()`. A lease is dead when released, expired, or when its owner's process on this machine has
    ended. Raises RunningElsewhere if another living holder has it.
    """
    nonce = secrets.token_hex(16)
    for _ in range(_TRIES):
        found = read_record(store, _lease_key(key))
        current = found[0] if found else None
        if current is not None and is_living(current, now()):
            raise _running_elsewhere(current)
        number = max(current["number"] if current else 0, _last_attempt(store, key)) + 1
        record = {
            "expires_at": now() + ttl,
            "held": True,
            "holder": nonce,
            "number": number,
            "outcome": None,
            "owner": dict(owner),
            "submission_id": f"{stage}-{key[:12]}-a{number}",
        }
        lease = _take(store, key, record, found[1] if found else None, now, ttl)
        if lease is not None:
            started = {k: record[k] for k in ("number", "owner", "submission_id")}
            create_once(store, f"runs/{key}/attempt-{number}.json", seal({**started, "claimed_at": now()}))
            return lease
    raise ConflictError(f"{store.uri}/{_lease_key(key)} changed under each of {_TRIES} tries to claim it; try again.")


@contextmanager
def keep_alive(lease: Lease) -> Iterator[Lease]:
    """Renew `lease` every third of its time from a background thread while the block runs.

    A store that is away for a while is tried again. A lost lease ends the renewing; the holder meets LeaseLostError at
    its next `lease.check()` or fenced write.
    """

    def renew(stop: threading.Event) -> None:
        while not stop.wait(lease.ttl / 3):
            try:
                lease.renew()
            except LeaseLostError as error:
                _LOG.error("%s", error)
                return
            except (StoreError, ConflictError, IntegrityError) as error:
                _LOG.warning(
                    "The lease of %s was not renewed and is tried again: %s", lease.attempt.submission_id, error
                )

    with beside(renew, f"lease-{lease.attempt.submission_id}"):
        yield lease


def is_living(record: Mapping[str, Any], now: float) -> bool:
    """Whether the holder that a lease's record names may still work."""
    return bool(record["held"]) and now < record["expires_at"] and not is_gone(record["owner"])


def _take(store: Store, key: str, record: dict[str, Any], etag: str | None, now: Clock, ttl: float) -> Lease | None:
    """The lease if `record` got in, also when only the reply was lost; None if another was faster."""
    data = seal(record)
    try:
        if etag is not None:
            return _lease(store, key, record, store.replace(_lease_key(key), data, etag), now, ttl)
        store.create(_lease_key(key), data)
    except ConflictError:
        pass
    found = read_record(store, _lease_key(key))
    if found is None or found[0]["holder"] != record["holder"]:
        return None
    return _lease(store, key, record, found[1], now, ttl)


def _lease(store: Store, key: str, record: dict[str, Any], etag: str, now: Clock, ttl: float) -> Lease:
    attempt = Attempt(key=key, number=record["number"], submission_id=record["submission_id"])
    return Lease(store, attempt, record, etag, now, ttl)


def _lease_key(key: str) -> str:
    return f"runs/{key}/lease.json"


def _last_attempt(store: Store, key: str) -> int:
    """The highest attempt on record, so that a lost lease file does not bring a submission id back."""
    names = (re.search(r"/attempt-(\d+)\.json$", info.key) for info in store.list(f"runs/{key}/attempt-"))
    return max((int(name[1]) for name in names if name), default=0)


def _describe(record: Mapping[str, Any]) -> str:
    owner = record["owner"]
    return f"{record['submission_id']} on host {owner.get('host', 'unknown')}, process {owner.get('pid', 'unknown')}"


def _running_elsewhere(record: Mapping[str, Any]) -> RunningElsewhere:
    return RunningElsewhere(
        f"This action is being made by {_describe(record)}; wait for it, or end that process and run again.",
        submission_id=record["submission_id"],
        owner=dict(record["owner"]),
        expires_at=record["expires_at"],
    )
