"""What the deployment's form shows: every field of a recipe and of a run, typed, with its range and meaning, none of
them required: what is left empty stays as the named recipe or run has it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

from pydantic import BaseModel, ConfigDict, Field, create_model

from lsr.core.config import as_plain, field_docs
from lsr.recipes.run import Run
from lsr.recipes.schema import Recipe


@cache
def partial_of(cls: type) -> type[BaseModel]:
    """A pydantic model with the fields of the config class `cls` and of the configs in it, none of them required."""
    hints = typing.get_type_hints(cls, include_extras=True)
    docs = field_docs(cls)
    fields: dict[str, Any] = {
        field.name: (_optional(hints[field.name]), Field(default=None, description=docs[field.name].doc))
        for field in dataclasses.fields(cls)
    }
    # Arguments of pydantic's own are told apart from fields by their types.
    return create_model(f"{cls.__name__}Changes", __config__=ConfigDict(extra="forbid"), __doc__=cls.__doc__, **fields)


def _optional(hint: Any) -> Any:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_changeable(option) for option in (*typing.get_args(hint), type(None)))]  # noqa: UP007
    return Optional[_changeable(hint)]  # noqa: UP045


def _changeable(hint: Any) -> Any:
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return partial_of(bare) if isinstance(bare, type) and dataclasses.is_dataclass(bare) else hint


def given(changes: BaseModel | Mapping[str, Any] | None) -> dict[str, Any]:
    """Only what was filled in, as plain data; a deployment hands over plain data itself."""
    if isinstance(changes, BaseModel):
        return changes.model_dump(exclude_unset=True, mode="json")
    return dict(changes or {})


def changes_of(config: object, names: Iterable[str]) -> dict[str, Any]:
    """The fields `names` (dotted) of a config as nested plain data, as the flow takes them."""
    plain, out = as_plain(config), dict[str, Any]()
    for dotted in names:
        *parents, leaf = dotted.split(".")
        source, target = plain, out
        for parent in parents:
            source, target = source[parent], target.setdefault(parent, {})
        target[leaf] = source[leaf]
    return out


if TYPE_CHECKING:
    RecipeChanges = Mapping[str, Any]
    RunChanges = Mapping[str, Any]
else:
    RecipeChanges = partial_of(Recipe)
    RunChanges = partial_of(Run)
