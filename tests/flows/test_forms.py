"""The deployment's form: every field of a recipe and of a run, typed, none of them required."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from flows.forms import RecipeChanges, RunChanges, changes_of, given
from flows.retrain import retrain
from lsr.cli.recipe import fields_of
from lsr.core.config import assignments_of
from lsr.core.errors import ConfigError
from lsr.recipes import load_recipe
from lsr.recipes.run import load_run


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found = parameter_schema(retrain)
    return {"properties": found.properties, "definitions": found.definitions}


def options(part: dict[str, Any], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas that a form's field may take."""
    for option in part.get("anyOf", [part]):
        yield definitions[option["$ref"].rpartition("/")[2]] if "$ref" in option else option


def at(dotted: str, root: str, schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(options(schema["properties"][root], schema["definitions"]))
    for name in dotted.split("."):
        parts = [one["properties"][name] for one in found if name in one.get("properties", {})]
        assert parts, f"the form has no field {dotted}"
        found = [option for part in parts for option in options(part, schema["definitions"])]
    return found


@pytest.mark.parametrize(
    ("root", "config"), [("changes", load_recipe("demo")), ("run_changes", load_run("laptop"))], ids=["recipe", "run"]
)
def test_the_form_has_every_field(root: str, config: object, schema: dict[str, Any]) -> None:
    for row in fields_of(config):
        assert at(row["field"], root, schema)


def test_fields_have_their_types_ranges_choices_and_meaning(schema: dict[str, Any]) -> None:
    assert {"minimum": 1, "type": "integer"} in at("denoise.train.batch", "changes", schema)
    assert {"minimum": 0, "maximum": 1, "type": "number"} in at("shard.holdout", "changes", schema)
    assert ["ddim", "dpm++", "heun", "euler"] in [
        one.get("enum") for one in at("infer.sampler.name", "changes", schema)
    ]
    assert {"minimum": 0, "type": "integer"} in at("train.workers", "run_changes", schema)
    definition = schema["definitions"]["TrainConfigChanges"]
    assert "images" in definition["properties"]["images"]["description"]
    assert not definition.get("required")


def test_what_is_filled_in_changes_exactly_that() -> None:
    filled = RecipeChanges.model_validate({"denoise": {"train": {"images": 9600}}, "infer": None})
    base = load_recipe("demo")
    found = load_recipe("demo", assignments_of(base, given(filled)))
    assert found == load_recipe("demo", {"denoise.train.images": "9600", "infer": "null"})
    assert given({"seed": 8}) == {"seed": 8}
    assert given(None) == {}


def test_the_command_lines_overrides_arrive_as_the_form_fills_them_in() -> None:
    """A text that looks like a number stays a text on the way through the flow's parameters."""
    overrides = {"source.name": "2024", "joint.train.images": "480", "tile.max_per_image": "null"}
    recipe = load_recipe("demo", overrides)
    changes = changes_of(recipe, overrides)
    assert changes == {"source": {"name": "2024"}, "joint": {"train": {"images": 480}}, "tile": {"max_per_image": None}}
    assert load_recipe("demo", assignments_of(load_recipe("demo"), given(changes))) == recipe


def test_a_field_that_is_not_there_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"denoise\.trian is not a recipe field"):
        load_recipe("demo", assignments_of(load_recipe("demo"), {"denoise": {"trian": {"images": 1}}}))
    with pytest.raises(ValueError, match="extra"):
        RunChanges.model_validate({"worker": 3})
