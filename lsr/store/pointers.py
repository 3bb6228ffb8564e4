"""Moving pointers that reject a zombie: JSON {fencing, nonce, value}, moved by compare-and-swap.

A pointer (a run's newest checkpoint) belongs to the writer with the highest fencing number. A new writer starts with
`take_pointer`, which puts its own number on the pointer, so that an older writer's late write is rejected from then on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from lsr.core.errors import ConflictError, LeaseLostError
from lsr.store.base import Store
from lsr.store.records import read_record, seal

Value = dict[str, Any] | None

_TRIES = 20


def read_pointer(store: Store, key: str) -> Value:
    """The pointer's value; None if there is no pointer yet or none was written since it was first taken."""
    found = read_record(store, key)
    return None if found is None else _value(found[0])


def take_pointer(store: Store, key: str, fencing: int) -> Value:
    """The pointer's value, which from now on only writers of this fencing number or a newer one can move.

    Raises LeaseLostError if a newer writer has it.
    """
    return _move(store, key, fencing, lambda value: value)


def write_pointer(store: Store, key: str, value: Value, fencing: int) -> None:
    """Move the pointer to `value` (JSON data; None for nothing). Raises LeaseLostError if a newer writer has it."""
    _move(store, key, fencing, lambda _: value)


def _move(store: Store, key: str, fencing: int, change: Callable[[Value], Value]) -> Value:
    # The nonce tells a retry that the write it meets is its own, whose reply was lost.
    nonce = secrets.token_hex(16)
    for _ in range(_TRIES):
        found = read_record(store, key)
        record: dict[str, Any] = found[0] if found else {"fencing": 0, "nonce": None, "value": None}
        if record["nonce"] == nonce:
            return _value(record)
        if record["fencing"] > fencing:
            raise LeaseLostError(
                f"{store.uri}/{key} belongs to the writer with fencing number {record['fencing']}, this one has "
                f"{fencing}: another process has taken over this run, and this one must stop."
            )
        value = change(_value(record))
        data = seal({"fencing": fencing, "nonce": nonce, "value": value})
        try:
            if found is not None:
                store.replace(key, data, found[1])
                return value
            if store.create(key, data):
                return value
        except ConflictError:
            continue
    raise ConflictError(f"{store.uri}/{key} changed under each of {_TRIES} tries to move it; end its other writers.")


def _value(record: dict[str, Any]) -> Value:
    value: Value = record["value"]
    return value
