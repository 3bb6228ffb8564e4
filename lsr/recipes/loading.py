"""Finding a config by name: built in, or `package.module:function` from outside the repository."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TypeVar

from lsr.core.config import override
from lsr.core.errors import ConfigError

C = TypeVar("C")


def load(what: str, kind: type[C], built_in: Mapping[str, str], name: str, overrides: Mapping[str, str] | None) -> C:
    """The `what` called `name`, with fields overridden by dotted name, checked whole.

    Raises ConfigError for an unknown name, an unknown field, or every broken rule at once.
    """
    target = built_in.get(name, name)
    module, colon, function = target.partition(":")
    if not colon:
        raise ConfigError(
            f"There is no {what} {name!r}; built in are {', '.join(built_in)}, and your own is package.module:function."
        )
    try:
        config = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what.capitalize()} {name!r} cannot be loaded: {error}.") from error
    if not isinstance(config, kind):
        raise ConfigError(
            f"{what.capitalize()} function {target} must return a {kind.__name__}, found {type(config).__name__}."
        )
    return override(config, overrides or {}, what=what)
