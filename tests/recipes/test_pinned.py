"""Every default and every key of the shipped recipes, pinned.

A key that changes makes every store compute anew, and one that does not change although its meaning did reuses old
results under a new meaning. When this test fails:

- a default or a recipe was changed on purpose: its results are others. Run `python -m tests.recipes.test_pinned` and
  commit the new pins with the change; nothing else is needed, since keys hold every field.
- a field's *meaning* changed and its value did not: raise `SCHEMA` in lsr/recipes/schema.py, then pin anew.
- a stage's output changed for equal input: raise the stage's version in lsr/engine/table.py, then pin anew.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import Config, as_plain, leaves
from lsr.core.refs import Ref
from lsr.engine.table import PIPELINE, key_of
from lsr.recipes import BUILT_IN, load_recipe
from lsr.recipes.study import BUILT_IN as STUDIES
from lsr.recipes.study import load_study

PINS = Path(__file__).with_name("pins.json")


def keys(name: str) -> dict[str, str]:
    """Every stage's key, where each result's digest stands for its key."""
    recipe = load_recipe(name)
    refs = {"snapshot": Ref(kind="snapshot", key="s", digest="5" * 64, path="snapshots/x.json")}
    for stage in PIPELINE.values():
        key = key_of(stage, recipe, {i: refs[i] for i in stage.inputs})
        refs[stage.name] = Ref(kind=stage.kind, key=key, digest=key, path=f"x/{key}.json")
    return {name: ref.key for name, ref in refs.items() if name != "snapshot"}


def flat(config: Any) -> dict[str, str]:
    return {name: json.dumps(as_plain(value), sort_keys=True) for name, value in leaves(config)}


def defaults() -> dict[str, dict[str, str]]:
    """The default of every field of every config class that a recipe, a study or a request is made of."""
    classes = [cls for cls in Config.__subclasses__() if cls.__module__.startswith(("lsr.", "data_prep."))]
    return {
        f"{cls.__module__}.{cls.__name__}": {
            field.name: json.dumps(as_plain(field.default), sort_keys=True)
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if field.default is not dataclasses.MISSING
        }
        for cls in sorted(classes, key=lambda cls: (cls.__module__, cls.__name__))
    }


def digest(name: str) -> str:
    return sha256_hex(canonical_json(as_plain(load_study(name))))


def pins() -> dict[str, Any]:
    """What is pinned, as it is in this checkout."""
    return {
        "defaults": defaults(),
        "recipes": {name: flat(load_recipe(name)) for name in sorted(BUILT_IN)},
        "studies": {name: digest(name) for name in sorted(STUDIES)},
        "keys": {name: keys(name) for name in sorted(BUILT_IN)},
    }


@pytest.fixture(scope="module")
def pinned() -> Any:
    return json.loads(PINS.read_bytes())


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_fields_and_keys_of_a_recipe_are_as_pinned(name: str, pinned: Any) -> None:
    assert flat(load_recipe(name)) == pinned["recipes"][name], __doc__
    assert keys(name) == pinned["keys"][name], __doc__


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_the_fields_of_a_study_are_as_pinned(name: str, pinned: Any) -> None:
    assert digest(name) == pinned["studies"][name], __doc__


def test_the_defaults_of_every_config_class_are_as_pinned(pinned: Any) -> None:
    assert defaults() == pinned["defaults"], __doc__


def test_nothing_is_pinned_that_is_gone(pinned: Any) -> None:
    assert sorted(pinned["recipes"]) == sorted(BUILT_IN)
    assert sorted(pinned["studies"]) == sorted(STUDIES)


if __name__ == "__main__":
    PINS.write_text(json.dumps(pins(), indent=1, sort_keys=True) + "\n")
