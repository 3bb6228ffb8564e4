"""Frozen dataclass configs: to and from plain data, overridden by dotted name, checked all at once.

A config class is a frozen keyword-only dataclass of scalars, strings, tuples, None and other configs. It may
define `faults(self) -> list[str]`: one sentence a broken rule. A field whose value equals its class default is
left out of `described`, so that adding an option with a behaviour-preserving default keeps every action key.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from lsr.core.errors import ConfigError

C = TypeVar("C")


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _plain(value: Any, *, skip_defaults: bool) -> Any:
    if _is_config(value):
        out = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if skip_defaults and field.default is not dataclasses.MISSING and item == field.default:
                continue
            out[field.name] = _plain(item, skip_defaults=skip_defaults)
        return out
    if isinstance(value, tuple | list):
        return [_plain(item, skip_defaults=skip_defaults) for item in value]
    return value


def described(config: Any) -> dict[str, Any]:
    """What enters an action key: every field that differs from its class default, as plain JSON data."""
    return typing.cast(dict[str, Any], _plain(config, skip_defaults=True))


def as_plain(config: Any) -> dict[str, Any]:
    """Every field, as plain JSON data; `from_plain` reads it back."""
    return typing.cast(dict[str, Any], _plain(config, skip_defaults=False))


def _coerce(hint: Any, value: Any, path: str, faults: list[str]) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        trials: list[list[str]] = []
        for option in (a for a in args if a is not type(None)):
            trial: list[str] = []
            result = _coerce(option, value, path, trial)
            if not trial:
                return result
            trials.append(trial)
        # The option that fits best is the one that was meant; its faults are the ones to name.
        closest = min(trials, key=len)
        faults.extend(closest)
        return value
    if origin is typing.Literal:
        if value not in args:
            faults.append(f"{path} must be one of {', '.join(map(repr, args))}, found {value!r}.")
        return value
    if origin is tuple:
        return _coerce_tuple(args, value, path, faults)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, path, faults)
    return _coerce_scalar(hint, value, path, faults)


def _coerce_tuple(args: tuple[Any, ...], value: Any, path: str, faults: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        faults.append(f"{path} must be a list, found {value!r}.")
        return value
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_coerce(args[0], item, f"{path}[{i}]", faults) for i, item in enumerate(value))
    if len(args) != len(value):
        faults.append(f"{path} must have {len(args)} items, found {len(value)}.")
        return tuple(value)
    return tuple(_coerce(a, item, f"{path}[{i}]", faults) for i, (a, item) in enumerate(zip(args, value)))


def _coerce_scalar(hint: Any, value: Any, path: str, faults: list[str]) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        faults.append(f"{path} must be {hint.__name__}, found {value!r}.")
    return value


def _build(cls: type, data: Any, path: str, faults: list[str]) -> Any:
    if isinstance(data, cls):
        return data
    if not isinstance(data, Mapping):
        faults.append(f"{path or cls.__name__} must be a table of fields, found {data!r}.")
        return data
    hints = typing.get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}
    where = f"{path}." if path else ""
    for name in data:
        if name not in known:
            faults.append(f"{where}{name} is not a field of {cls.__name__}; it has {', '.join(sorted(known))}.")
    values = {n: _coerce(hints[n], data[n], f"{where}{n}", faults) for n in known if n in data}
    missing = [
        f"{where}{n}"
        for n, f in known.items()
        if n not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    faults.extend(f"{name} is required." for name in missing)
    return data if faults else cls(**values)


def from_plain(cls: type[C], data: Mapping[str, Any]) -> C:
    """A config of class `cls` from plain data. Raises ConfigError naming every unknown, missing or ill-typed field."""
    faults: list[str] = []
    config = _build(cls, data, "", faults)
    if faults:
        raise ConfigError(" ".join(faults))
    return typing.cast(C, config)


def _hint_at(cls: type, names: list[str]) -> Any:
    """The type of the field at this path below `cls`; Any where no config class declares it."""
    hint: Any = cls
    for name in names:
        options = [hint, *typing.get_args(hint)]
        configs = [typing.get_type_hints(o) for o in options if isinstance(o, type) and dataclasses.is_dataclass(o)]
        hint = next((fields[name] for fields in configs if name in fields), Any)
    return hint


def _value_for(hint: Any, text: str) -> Any:
    """`text` as JSON, or as it stands where only that fits `hint`."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text

    def misfit(candidate: Any) -> list[str]:
        faults: list[str] = []
        _coerce(hint, candidate, "", faults)
        return faults

    return text if misfit(value) and not misfit(text) else value


def override(config: C, assignments: Mapping[str, str]) -> C:
    """A copy of `config` with fields replaced by dotted name: `{"denoise.train.steps": "200"}`.

    A value is read as JSON where that fits the field's type, else as the text itself, so that a text field takes
    `2024` as it stands. Raises ConfigError with all faults at once.
    """
    data = as_plain(config)
    faults = []
    for dotted, text in assignments.items():
        *parents, leaf = dotted.split(".")
        node: Any = data
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            near = sorted(node) if isinstance(node, dict) else sorted(data)
            faults.append(f"{dotted} is not a recipe field; here the fields are {', '.join(near)}.")
        else:
            node[leaf] = _value_for(_hint_at(type(config), [*parents, leaf]), text)
    if faults:
        raise ConfigError(" ".join(faults))
    return from_plain(type(config), data)


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if _is_config(value):
        yield path, value
        for field in dataclasses.fields(value):
            yield from _walk(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _walk(item, f"{path}[{i}]")


def _not_finite(value: Any, path: str) -> list[str]:
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{path} must be a finite number, found {value}."]
    if isinstance(value, tuple):
        return [fault for i, item in enumerate(value) for fault in _not_finite(item, f"{path}[{i}]")]
    return []


def check(config: Any) -> None:
    """Raise one ConfigError with every fault that the config and its parts report, each prefixed by its path, and
    every number that is not finite: comparisons in `faults` are blind to NaN, and no action key can hold one.
    """
    infinite = [
        fault
        for path, part in _walk(config, "")
        for field in dataclasses.fields(part)
        for fault in _not_finite(getattr(part, field.name), f"{path}.{field.name}" if path else field.name)
    ]
    faults = infinite + [
        f"{path or type(part).__name__}: {fault}"
        for path, part in _walk(config, "")
        if hasattr(part, "faults")
        for fault in part.faults()
    ]
    if faults:
        raise ConfigError(" ".join(faults))
