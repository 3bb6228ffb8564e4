"""Recipes: Python functions that return one complete, typed, frozen config.

A recipe is found by its short name below, or as `package.module:function` from outside the repository.
"""

from __future__ import annotations

from collections.abc import Mapping

from lsr.recipes.loading import load
from lsr.recipes.schema import Recipe

BUILT_IN = {
    "demo": "lsr.recipes.demo:demo",
    "demo-generate": "lsr.recipes.generation:demo_generate",
    "short": "lsr.recipes.demo:short",
    "short-generate": "lsr.recipes.generation:short_generate",
    "photo": "lsr.recipes.photo:photo",
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
    return load("recipe", Recipe, BUILT_IN, name, overrides)
