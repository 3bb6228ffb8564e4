"""The promotion log: which version is champion, decided by conditional writes, never by an alias.

`promotions/<model>/<n>.json` is record n; each names its predecessor's digest, so that the log is one chain, and is
created once, so that of any number of racing promotions exactly one wins each n. Reading the log needs no MLflow.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from lsr.core.canonical import sha256_hex
from lsr.core.errors import (
    ConflictError,
    GateRejectedError,
    InputError,
    IntegrityError,
)
from lsr.evaluation.verdict import Verdict
from lsr.registry.versions import Version
from lsr.store import Store
from lsr.store.content import create_once
from lsr.store.records import parse_record, seal

DIGITS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One decision. version, digest: the champion from now on; for *retire*, the one that no longer is, with nobody in
    its place. previous: digest of record n-1's bytes, None for the first. verdict: digest of the PASS verdict; None
    for a rollback or retirement. nonce: tells a writer its own lost reply.
    """

    n: int
    model: str
    action: Literal["promote", "rollback", "retire"]
    version: int
    digest: str
    previous: str | None
    verdict: str | None
    who: str
    when: str
    reason: str
    nonce: str

    def to_bytes(self) -> bytes:
        return seal(asdict(self))

    @property
    def own_digest(self) -> str:
        return sha256_hex(self.to_bytes())


@dataclass(frozen=True, kw_only=True, slots=True)
class Champion:
    """A version that is, or was, champion."""

    version: int
    digest: str


def read_log(store: Store, model: str) -> list[Record]:
    """The whole log in order, empty for a model that was never promoted.

    Raises IntegrityError when a record is missing, unreadable or does not name its predecessor.
    """
    out: list[Record] = []
    for info in store.list(f"promotions/{model}/"):
        record = _parse(store.read(info.key), f"{store.uri}/{info.key}")
        before = out[-1].own_digest if out else None
        if info.key != _key(model, len(out) + 1) or record.n != len(out) + 1 or record.previous != before:
            raise IntegrityError(
                f"{store.uri}/{info.key} does not follow record {len(out)} of the promotion log of {model}; "
                "the log was changed by hand. Restore it from a backup; nothing is promoted until then."
            )
        out.append(record)
    return out


def champions(log: Sequence[Record]) -> list[Champion]:
    """Champions that a rollback can return to, today's last. A promotion adds one, a rollback removes the last until
    its version is on top, so that a second rollback goes further back and never to a version that was left; a
    retirement empties the list.
    """
    stack: list[Champion] = []
    for record in in_force(log):
        if record.action == "promote":
            stack.append(Champion(version=record.version, digest=record.digest))
            continue
        stack.pop()
        while stack and stack[-1].version != record.version:
            stack.pop()
    return stack


def in_force(log: Sequence[Record]) -> Sequence[Record]:
    """The records after the last retirement; version numbers before it may be those of a registry that is gone."""
    ends = [place for place, record in enumerate(log, start=1) if record.action == "retire"]
    return log[ends[-1] :] if ends else log


def champion(log: Sequence[Record]) -> Champion | None:
    """Today's champion, None before the first promotion and after a retirement."""
    stack = champions(log)
    return stack[-1] if stack else None


def put_verdict(store: Store, verdict: Verdict) -> str:
    """Keep a verdict at `verdicts/<digest>.json`; its digest."""
    data = verdict.to_bytes()
    digest = sha256_hex(data)
    create_once(store, _verdict_key(digest), data)
    return digest


def get_verdict(store: Store, digest: str) -> Verdict:
    """The verdict of that digest. Raises NotFoundError, IntegrityError when its bytes do not have it."""
    where = f"{store.uri}/{_verdict_key(digest)}"
    data = store.read(_verdict_key(digest))
    if sha256_hex(data) != digest:
        raise IntegrityError(f"{where} does not have the digest in its name; run the gate again.")
    return Verdict.from_bytes(data, where)


def promote(
    store: Store, version: Version, verdict_digest: str, *, who: str, reason: str = "", again: bool = False
) -> Record:
    """Make `version` champion, by number and digest, on a PASS verdict given for exactly this version against exactly
    today's champion. Promoting the champion on the same verdict again returns its record.

    again: allow a version that was rolled back from, which a mere rerun of its line must not bring back.
    Raises GateRejectedError for any other verdict, ConflictError when the champion changed since the gate ran or when
    another promotion wins the race: evaluate against the new champion and try again.
    """
    verdict = get_verdict(store, verdict_digest)
    log = read_log(store, version.name)
    if log and (log[-1].verdict, log[-1].digest) == (verdict_digest, version.digest):
        return log[-1]
    _reject_wrong_verdict(verdict, version)
    _reject_stale(verdict, champion(log), version.name)
    if not again:
        _reject_rolled_back(log, version)
    return _append(
        store,
        log,
        model=version.name,
        action="promote",
        version=version.number,
        digest=version.digest,
        verdict=verdict_digest,
        who=who,
        reason=reason,
    )


def rollback(store: Store, model: str, *, who: str, reason: str, to: int | None = None) -> Record:
    """Return to the champion before today's, or to the earlier champion with number `to`: one more record.

    Raises InputError when there is none to return to, ConflictError when another writer was faster.
    """
    log = read_log(store, model)
    earlier = champions(log)[:-1]
    options = {held.version: held for held in earlier}
    target = options.get(to) if to is not None else (earlier[-1] if earlier else None)
    if target is None:
        known = ", ".join(str(number) for number in options) or "none"
        wanted = "an earlier champion" if to is None else f"version {to}"
        raise InputError(f"Model {model} cannot return to {wanted}; the earlier champions are {known}.")
    return _without_verdict(store, log, model, "rollback", target, who, reason)


def retire(store: Store, model: str, *, who: str, reason: str) -> Record:
    """Take the champion out of production with nobody in its place: the next version needs to pass the floor only.

    For a champion that must go and has no predecessor, and for one whose registry is lost. Raises InputError when
    there is no champion, ConflictError when another writer was faster.
    """
    log = read_log(store, model)
    today = champion(log)
    if today is None:
        raise InputError(f"Model {model} has no champion that could be retired.")
    return _without_verdict(store, log, model, "retire", today, who, reason)


def _without_verdict(
    store: Store,
    log: Sequence[Record],
    model: str,
    action: Literal["rollback", "retire"],
    held: Champion,
    who: str,
    reason: str,
) -> Record:
    """A decision that needs no verdict, about the version in `held`."""
    return _append(
        store,
        log,
        model=model,
        action=action,
        version=held.version,
        digest=held.digest,
        verdict=None,
        who=who,
        reason=reason,
    )


def _append(store: Store, log: Sequence[Record], **fields: Any) -> Record:
    record = Record(
        n=len(log) + 1,
        previous=log[-1].own_digest if log else None,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        nonce=secrets.token_hex(16),
        **fields,
    )
    key = _key(record.model, record.n)
    if store.create(key, record.to_bytes()):
        return record
    winner = _parse(store.read(key), f"{store.uri}/{key}")
    if winner.nonce == record.nonce or (winner.verdict, winner.digest) == (fields["verdict"], fields["digest"]):
        return winner
    raise ConflictError(
        f"Model {record.model} version {record.version} was not made champion: {winner.who} made version "
        f"{winner.version} champion at {winner.when} ({key}). Evaluate against it and try again."
    )


def _reject_wrong_verdict(verdict: Verdict, version: Version) -> None:
    subject = verdict.candidate
    if (subject.model, subject.version, subject.digest) != (version.name, version.number, version.digest):
        raise GateRejectedError(
            f"The verdict is about {subject.model} version {subject.version} ({subject.digest[:12]}), not about "
            f"{version.name} version {version.number} ({version.digest[:12]}); run the gate on this version."
        )
    if verdict.decision != "PASS":
        raise GateRejectedError(f"{verdict.sentence()} Nothing was promoted.")


def _reject_stale(verdict: Verdict, today: Champion | None, model: str) -> None:
    then = verdict.champion
    if ((then.version, then.digest) if then else None) == ((today.version, today.digest) if today else None):
        return
    was = f"version {then.version}" if then else "no champion"
    now = f"version {today.version}" if today else "no champion"
    raise ConflictError(
        f"The verdict compared with {was}, but {model} now has {now} as champion; run the gate against it."
    )


def _reject_rolled_back(log: Sequence[Record], version: Version) -> None:
    last = _taken_out(log).get(version.digest)
    if last is not None:
        raise ConflictError(
            f"{version} was champion and was taken out of production ({last.action} by {last.who} at {last.when}: "
            f"{last.reason}); `lsr gate --again` makes it champion again if that is meant."
        )


def _taken_out(log: Sequence[Record]) -> dict[str, Record]:
    """By digest, what somebody took out of production, with the record that did it: every champion above the one
    that a rollback returned to, and a retired champion. A later promotion of the same digest clears it.
    """
    out: dict[str, Record] = {}
    for place, record in enumerate(log):
        if record.action == "promote":
            out.pop(record.digest, None)
        elif record.action == "retire":
            out[record.digest] = record
        else:
            stay = champions(log[: place + 1])
            gone = champions(log[:place])[len(stay) :]
            out |= {held.digest: record for held in gone if held.digest != record.digest}
    return out


def _parse(data: bytes, where: str) -> Record:
    plain = parse_record(data, where)
    del plain["format"]
    try:
        return Record(**plain)
    except TypeError as error:
        raise IntegrityError(f"{where} is not a promotion record ({error}); restore it from a backup.") from error


def _key(model: str, n: int) -> str:
    return f"promotions/{model}/{n:0{DIGITS}d}.json"


def _verdict_key(digest: str) -> str:
    return f"verdicts/{digest}.json"
