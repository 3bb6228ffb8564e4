"""Recipes: Python functions that return one complete, typed, frozen config.

A recipe is found by its short name below, or as `package.module:function` from outside the repository.
Imports config classes only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from lsr.core.config import check, override
from lsr.core.errors import ConfigError
from lsr.recipes.schema import Recipe

BUILT_IN = {
    "demo": "lsr.recipes.demo:demo",
    "demo-generate": "lsr.recipes.demo:demo_generate",
    "short": "lsr.recipes.demo:short",
    "short-generate": "lsr.recipes.demo:short_generate",
    "div2k-x4": "lsr.recipes.published:div2k_x4",
    "faces-x8": "lsr.recipes.published:faces_x8",
    "tower-x16": "lsr.recipes.published:tower_x16",
    "generate-256": "lsr.recipes.published:generate_256",
    "div2k-x4-published": "lsr.recipes.published:div2k_x4_published",
    "faces-x8-published": "lsr.recipes.published:faces_x8_published",
    "tower-x16-published": "lsr.recipes.published:tower_x16_published",
    "generate-256-published": "lsr.recipes.published:generate_256_published",
    "div2k-x4-mid": "lsr.recipes.mid:div2k_x4_mid",
    "faces-x8-mid": "lsr.recipes.mid:faces_x8_mid",
    "tower-x16-mid": "lsr.recipes.mid:tower_x16_mid",
    "generate-256-mid": "lsr.recipes.mid:generate_256_mid",
}


def load_recipe(name: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """The recipe called `name`, with fields overridden by dotted name, checked whole.

    Raises ConfigError for an unknown recipe, an unknown field, or every broken rule at once.
    """
    target = BUILT_IN.get(name, name)
    module, colon, function = target.partition(":")
    if not colon:
        raise ConfigError(
            f"There is no recipe {name!r}; built in are {', '.join(BUILT_IN)}, and your own is package.module:function."
        )
    try:
        recipe = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"Recipe {name!r} cannot be loaded: {error}.") from error
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"Recipe function {target} must return a Recipe, found {type(recipe).__name__}.")
    recipe = override(recipe, overrides or {})
    check(recipe)
    return recipe
