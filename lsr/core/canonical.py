"""The two names of everything made: the action key (what was asked) and the content digest (what came out).

Canonical JSON is RFC 8785. NaN and infinities are rejected, so one value has exactly one spelling.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import rfc8785

from lsr.core.errors import ConfigError

MAX_SAFE_INT = 2**53 - 1


def _reject_unsafe(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"Canonical JSON has no spelling for {value!r} at {path or 'the top'}; use a finite number.")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE_INT:
        raise ConfigError(f"Canonical JSON numbers end at 2^53-1, found {value} at {path}; write it as a string.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _reject_unsafe(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _reject_unsafe(item, f"{path}[{i}]")


def canonical_json(value: Any) -> bytes:
    """Bytes of `value` (dicts with string keys, lists, tuples, str, int, finite float, bool, None) by RFC 8785.

    Raises ConfigError for NaN, infinities, integers beyond 2^53-1 and types that JSON does not have.
    """
    _reject_unsafe(value, "")
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, TypeError) as error:
        raise ConfigError(f"This value has no canonical JSON form: {error}.") from error


def canonical_list(values: Iterable[Any]) -> Iterator[bytes]:
    """The bytes of `canonical_json(list(values))` in pieces: elements are asked for and spelled one at a time."""
    before = b"["
    for value in values:
        yield before + canonical_json(value)
        before = b","
    yield b"[]" if before == b"[" else b"]"


def sha256_hex(data: bytes | memoryview) -> str:
    """Lower-case hex SHA-256 of `data`: the content digest."""
    return hashlib.sha256(data).hexdigest()


def action_key(stage: str, version: int, inputs: Mapping[str, str], config: Mapping[str, Any]) -> str:
    """The action key: sha256 over canonical JSON of what a stage was asked to do.

    stage: the stage's name. version: its integer, raised when its output changes for equal input.
    inputs: content digest by input name. config: `lsr.core.config.described(stage config)`.
    """
    request = {"config": dict(config), "inputs": dict(inputs), "stage": stage, "version": version}
    return sha256_hex(canonical_json(request))
