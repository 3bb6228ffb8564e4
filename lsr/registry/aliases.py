"""MLflow's aliases as the image of the promotion log: `champion`, `previous`, `challenger`; drawn, compared, repaired.

An alias is for people and for MLflow's page: nothing is decided by it, and inference rejects one that disagrees with
the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsr.core.errors import ConflictError
from lsr.registry.connect import connect, explained
from lsr.registry.promotion import Record, champions, in_force, read_log
from lsr.registry.versions import Version, aliases_of, get_version, list_versions, resolve
from lsr.store import Store

ALIASES = ("previous", "champion", "challenger")
"""In the order of setting: whoever reads in between finds an old champion, never a missing way back."""

ROUNDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One alias that was repaired. found, put: version numbers, None for absent."""

    alias: str
    found: int | None
    put: int | None

    def __str__(self) -> str:
        def shown(number: int | None) -> str:
            return "nothing" if number is None else f"version {number}"

        return f"{self.alias}: {shown(self.found)} -> {shown(self.put)}"


def projected(log: Sequence[Record], versions: Sequence[Version]) -> dict[str, int]:
    """The aliases that the log and the registered versions imply. champion and previous: the log's last two champions.
    challenger: the newest version, if it was registered after every version that was ever champion.
    """
    stack = champions(log)
    out = dict(zip(("champion", "previous"), (held.version for held in reversed(stack[-2:]))))
    newest = max((version.number for version in versions), default=0)
    if newest > max((record.version for record in in_force(log)), default=0):
        out["challenger"] = newest
    return out


def drift(store: Store, uri: str, model: str) -> list[Change]:
    """What `reconcile` would change."""
    wanted = projected(read_log(store, model), list_versions(uri, model))
    found = aliases_of(uri, model)
    return [
        Change(alias=alias, found=found.get(alias), put=wanted.get(alias))
        for alias in ALIASES
        if found.get(alias) != wanted.get(alias)
    ]


def reconcile(store: Store, uri: str, model: str) -> list[Change]:
    """Make the aliases agree with the log; what was changed. Reads both again until they agree, so that of racing
    callers with different views of the log none leaves an old image. Raises ConflictError if they never agree,
    NotFoundError when the log names a version that MLflow does not have.
    """
    client = connect(uri)
    done: list[Change] = []
    for _ in range(ROUNDS):
        changes = drift(store, uri, model)
        if not changes:
            return done
        for change in changes:
            if change.put is not None:
                get_version(uri, model, change.put)
            with explained(uri):
                if change.put is None:
                    client.delete_registered_model_alias(model, change.alias)
                else:
                    client.set_registered_model_alias(model, change.alias, str(change.put))
        done += changes
    raise ConflictError(f"The aliases of {model} changed under each of {ROUNDS} tries; end their other writers.")


def resolve_for_inference(store: Store, uri: str, spec: str) -> Version:
    """The version that `name@alias` or `name/number` names, for a job that will use it to its end.

    An alias must agree with the promotion log, and the champion must have the digest that the log recorded; else
    ConflictError. Raises NotFoundError with what there is.
    """
    version = resolve(uri, spec)
    alias = spec.partition("@")[2]
    log = read_log(store, version.name)
    if alias in ALIASES:
        _reject_drift(alias, version, projected(log, list_versions(uri, version.name)))
    recorded: Mapping[int, str] = {record.version: record.digest for record in in_force(log)}
    if recorded.get(version.number, version.digest) != version.digest:
        raise ConflictError(
            f"{version} has digest {version.digest[:12]} in MLflow, but {recorded[version.number][:12]} was promoted; "
            f"MLflow's database was replaced. Restore it, or run `lsr models retire {version.name}` and promote anew."
        )
    return version


def _reject_drift(alias: str, version: Version, wanted: Mapping[str, int]) -> None:
    if wanted.get(alias) != version.number:
        truth = f"version {wanted[alias]}" if alias in wanted else "none"
        raise ConflictError(
            f"MLflow's alias {alias} of {version.name} points to version {version.number}, the promotion log says "
            f"{truth}; run `lsr models reconcile {version.name}`."
        )
