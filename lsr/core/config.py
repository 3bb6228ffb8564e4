"""Frozen configs: to and from plain data, overridden by dotted name, validated all at once.

A config class derives from `Config`, is a frozen keyword-only dataclass and states each field's range in its type
(`Positive`, `Fraction`, ...) and its meaning in a string under the field. Rules between fields are sentences that
`faults` returns. Pydantic checks types and ranges and makes the JSON schema; it is imported when it is first needed.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from lsr.core.errors import ConfigError

Positive = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]

C = TypeVar("C")

_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")


class Config:
    """Base of every config class."""

    __slots__ = ()
    # What a TypeAdapter reads: unknown fields, NaN and infinities are errors, the strings under fields are the docs.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "use_attribute_docstrings": True,
    }

    def faults(self) -> list[str]:
        """One sentence per broken rule between fields."""
        return []


def as_plain(config: Any) -> Any:
    """Every field of a config, or of the configs in a tuple, as plain JSON data; `from_plain` reads it back."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: as_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, tuple | list):
        return [as_plain(item) for item in config]
    return config


def from_plain(cls: type[C], data: Mapping[str, Any]) -> C:
    """A config of class `cls` from plain data.

    Raises ConfigError naming every unknown, missing, ill-typed or out-of-range field.
    """
    config, faults = _parse(cls, data)
    if faults:
        raise ConfigError(" ".join(faults))
    return typing.cast(C, config)


def check(config: Any) -> None:
    """Raise one ConfigError with every field out of its range and every broken rule of the config and its parts."""
    _, faults = _parse(type(config), as_plain(config))
    faults += _broken_rules(config, faults)
    if faults:
        raise ConfigError(" ".join(faults))


def override(config: C, assignments: Mapping[str, str], *, what: str = "recipe") -> C:
    """A copy of `config` with fields replaced by dotted name: `{"denoise.train.images": "9600"}`, checked whole.

    A value is read as JSON where that fits the field's type, else as the text itself, so that a text field takes
    `2024` as it stands. `what` names the config in errors. Raises ConfigError with all faults at once.
    """
    changed, faults = _assigned(config, assignments, what)
    if faults:
        # Rules between fields are asked of what the sound assignments alone give.
        sound = {name: text for name, text in assignments.items() if not _assigned(config, {name: text}, what)[1]}
        changed = _assigned(config, sound, what)[0]
    faults += _broken_rules(changed, faults)
    if faults:
        raise ConfigError(" ".join(faults))
    return changed


def _assigned(config: C, assignments: Mapping[str, str], what: str) -> tuple[C, list[str]]:
    """`config` with the assignments, or as it is and what is wrong with them."""
    data = as_plain(config)
    faults = []
    for dotted, text in assignments.items():
        *parents, leaf = dotted.split(".")
        node: Any = data
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            faults.append(_no_such_field(dotted, config, node if isinstance(node, dict) else data, what))
        else:
            node[leaf] = _value_for(_hint_at(type(config), [*parents, leaf]), text)
    changed, wrong = _parse(type(config), data)
    return (config if wrong else typing.cast(C, changed)), faults + wrong


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field that is no config itself, in the order of the fields."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{path}.{field.name}" if path else field.name
        if dataclasses.is_dataclass(value):
            yield from leaves(value, name)
        else:
            yield name, value


def assignments_of(config: Any, changes: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Nested plain data (`{"denoise": {"train": {"images": 9600}}}`) as what `override` takes."""
    out: dict[str, str] = {}
    for name, value in changes.items():
        part, dotted = getattr(config, name, None), f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and dataclasses.is_dataclass(part):
            out |= assignments_of(part, value, dotted)
        else:
            out[dotted] = json.dumps(value)
    return out


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FieldDoc:
    """One field for people. kind: its type and range, in words."""

    kind: str
    doc: str


def field_docs(cls: type) -> dict[str, FieldDoc]:
    """What a config class says of its fields, by name."""
    found = json_schema(cls)["properties"]
    return {
        name: FieldDoc(kind=_kind(part), doc=" ".join(part.get("description", "").split()))
        for name, part in found.items()
    }


def _kind(schema: Mapping[str, Any]) -> str:
    """A type of a JSON schema in words: `integer >= 1 or null`."""
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    if schema.get("type") == "array":
        items = schema.get("prefixItems") or [schema["items"]]
        return f"list of {len(items)} x {_kind(items[0])}" if "prefixItems" in schema else f"list of {_kind(items[0])}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<", "multipleOf": "times"}
    limits = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return " ".join([str(schema.get("type", "any")), *limits])


def json_schema(cls: type) -> dict[str, Any]:
    """The JSON schema of a config class: types, ranges, defaults and the doc of each field."""
    return typing.cast(dict[str, Any], _adapter(cls).json_schema())


@cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


def _parse(hint: Any, data: Any) -> tuple[Any, list[str]]:
    """The value and no faults, or None and what is wrong."""
    from pydantic import ValidationError

    try:
        # By JSON, in which lists are tuples, whole numbers are floats and truth values are no numbers.
        return _adapter(hint).validate_json(json.dumps(data), strict=True), []
    except ValidationError as error:
        return None, _sentences(hint, error.errors(include_url=False, include_context=False))
    except (TypeError, ValueError) as error:
        return None, [f"{getattr(hint, '__name__', hint)} must be plain JSON data: {error}."]


def _sentences(hint: Any, errors: list[Any]) -> list[str]:
    """One sentence per error. Of a union, the option whose fields fit best is the one that was meant."""
    name = getattr(hint, "__name__", "The value")
    told: dict[str, dict[str, list[tuple[bool, str]]]] = {}
    for error in errors:
        path, option, parent = _place(hint, error["loc"])
        strange = error["type"] in (*_MISSING, "unexpected_keyword_argument")
        found = told.setdefault(option.partition(":")[0], {}).setdefault(option, [])
        found.append((strange, _sentence(error, path, parent, name)))
    meant = (min(options.values(), key=lambda one: (sum(s for s, _ in one), len(one))) for options in told.values())
    return [text for one in meant for _, text in one]


def _place(hint: Any, loc: tuple[int | str, ...]) -> tuple[str, str, type | None]:
    """The dotted path of an error, the union option it belongs to (`path:option`, empty outside unions), and the config
    class that its last name belongs to.
    """
    path, option = "", ""
    parent: type | None = None
    for part in loc:
        hint = _bare(hint)
        parent = hint if _is_config_class(hint) else None
        options = [_bare(one) for one in typing.get_args(hint)] if _is_union(hint) else []
        several = [one for one in options if one is not type(None)]
        if len(several) > 1:
            # Pydantic names the option in the location; the field comes after it.
            option = f"{path}:{part}"
            hint = next((one for one in several if getattr(one, "__name__", "") == part), Any)
            continue
        if len(several) == 1:
            hint = several[0]
            parent = hint if _is_config_class(hint) else None
        if isinstance(part, int):
            path += f"[{part}]"
            hint = _item_hint(hint, part)
        else:
            path += f".{part}" if path else part
            hint = _hints(parent).get(part, Any) if parent is not None else Any
    return path, option, parent


def _item_hint(hint: Any, place: int) -> Any:
    """The type of a tuple's item."""
    items = typing.get_args(hint)
    if items[1:] == (Ellipsis,):
        return items[0]
    return items[place] if place < len(items) else Any


def _sentence(error: Any, path: str, parent: type | None, name: str) -> str:
    kind, found = error["type"], error["input"]
    if kind in _MISSING:
        return f"{path} is required."
    if kind == "unexpected_keyword_argument" and parent is not None:
        return f"{path} is not a field of {parent.__name__}; it has {', '.join(sorted(_hints(parent)))}."
    rule = error["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    shown = repr(found)
    return f"{path or name} must be {rule}, found {shown if len(shown) < 200 else shown[:200] + '...'}."


def _no_such_field(dotted: str, config: Any, node: dict[str, Any], what: str) -> str:
    near = difflib.get_close_matches(dotted, [name for name, _ in leaves(config)], n=1, cutoff=0.5)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{dotted} is not a {what} field; here the fields are {', '.join(sorted(node))}.{meant}"


def _broken_rules(config: Any, faults: list[str]) -> list[str]:
    return [
        f"{path or type(part).__name__}: {fault}" for path, part in _walk(config, "") for fault in _rules(part, faults)
    ]


def _rules(part: Any, faults: list[str]) -> list[str]:
    """The broken rules between fields of `part`."""
    try:
        return typing.cast(list[str], part.faults()) if hasattr(part, "faults") else []
    except (TypeError, ValueError, ArithmeticError, IndexError):
        # A rule that cannot even be asked of values out of range, which are named already.
        if faults:
            return []
        raise


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        yield path, value
        for field in dataclasses.fields(value):
            yield from _walk(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _walk(item, f"{path}[{i}]")


def _bare(hint: Any) -> Any:
    """The type without its range."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _is_config_class(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


@cache
def _hints(cls: type) -> dict[str, Any]:
    found = typing.get_type_hints(cls, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(cls)}


def _hint_at(cls: type, names: list[str]) -> Any:
    """The type of the field at this path below `cls`; Any where no config class declares it."""
    hint: Any = cls
    for name in names:
        options = [_bare(one) for one in (hint, *typing.get_args(_bare(hint)))]
        fields = [_hints(one) for one in options if _is_config_class(one)]
        hint = next((found[name] for found in fields if name in found), Any)
    return hint


def _value_for(hint: Any, text: str) -> Any:
    """`text` as JSON, or as it stands where only that fits `hint`."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    if hint is Any:
        return value
    return text if _parse(hint, value)[1] and not _parse(hint, text)[1] else value
