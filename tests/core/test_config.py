"""Typed configs: plain data in and out, overrides by dotted name, all faults at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.config import (
    Config,
    Fraction,
    Positive,
    as_plain,
    assignments_of,
    check,
    field_docs,
    from_plain,
    json_schema,
    override,
)
from lsr.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer(Config):
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    kind: Literal["adam", "sgd"] = "adam"

    def faults(self) -> list[str]:
        return [] if self.lr > 0 else [f"lr must be positive, found {self.lr}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop(Config):
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(Config):
    steps: int
    name: str = "base"
    bits: bool = False
    limit: int | None = None
    widths: tuple[int, ...] = (1, 2)
    optimizer: Optimizer = Optimizer()
    crop: Crop | None = None
    crops: tuple[Crop, ...] = ()

    def faults(self) -> list[str]:
        return [] if self.steps > 0 else [f"steps must be positive, found {self.steps}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer(Config):
    inner: Recipe | None = None


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
OPTIMIZERS = st.builds(Optimizer, lr=FLOATS, betas=st.tuples(FLOATS, FLOATS), kind=st.sampled_from(["adam", "sgd"]))
CROPS = st.builds(Crop, size=st.integers())
RECIPES = st.builds(
    Recipe,
    steps=st.integers(),
    name=st.text(),
    bits=st.booleans(),
    limit=st.none() | st.integers(),
    widths=st.lists(st.integers(), max_size=4).map(tuple),
    optimizer=OPTIMIZERS,
    crop=st.none() | CROPS,
    crops=st.lists(CROPS, max_size=3).map(tuple),
)


def sound(recipe: Recipe) -> bool:
    return recipe.steps > 0 and recipe.optimizer.lr > 0


@given(RECIPES)
def test_a_config_survives_json(recipe):
    assert from_plain(Recipe, json.loads(json.dumps(as_plain(recipe)))) == recipe


def test_every_unknown_missing_and_ill_typed_field_is_named_at_once():
    data = {
        "name": 3,
        "bits": 1,
        "limit": "many",
        "widths": [1, "two"],
        "optimizer": {"lr": "fast", "kind": "lion", "betas": [0.9], "momentum": 1},
        "crop": {"sice": 4},
        "crops": {"size": 1},
        "extra": None,
    }
    with pytest.raises(ConfigError) as caught:
        from_plain(Recipe, data)
    for part in (
        "steps is required",
        "name must be a valid string, found 3",
        "bits must be a valid boolean, found 1",
        "limit must be a valid integer, found 'many'",
        "widths[1] must be a valid integer, found 'two'",
        "optimizer.lr must be a valid number, found 'fast'",
        "optimizer.kind must be 'adam' or 'sgd', found 'lion'",
        "optimizer.betas[1] is required",
        "optimizer.momentum is not a field of Optimizer; it has betas, kind, lr",
        "crop.sice is not a field of Crop",
        "crop.size is required",
        "crops must be a valid array",
        "extra is not a field of Recipe",
    ):
        assert part in str(caught.value), part


@pytest.mark.parametrize(("value", "ok"), [(1, True), (1.5, True), (True, False), ("1", False), (None, False)])
def test_a_float_field_takes_whole_numbers_but_no_truth_values(value, ok):
    if ok:
        found = from_plain(Optimizer, {"lr": value}).lr
        assert found == value
        assert type(found) is float
    else:
        with pytest.raises(ConfigError, match="lr must be a valid number"):
            from_plain(Optimizer, {"lr": value})


def test_an_int_field_takes_no_truth_value_and_no_fraction():
    for value in (True, 1.0, "1"):
        with pytest.raises(ConfigError, match="steps must be a valid integer"):
            from_plain(Recipe, {"steps": value})


def test_only_a_table_makes_a_config():
    with pytest.raises(ConfigError, match="Recipe must be an object, found 3"):
        from_plain(Recipe, 3)


def test_overrides_reach_nested_fields_and_keep_the_rest():
    base = Recipe(steps=10, name="x")
    found = override(
        base, {"steps": "20", "optimizer.lr": "1e-3", "widths": "[3, 4]", "name": "plain text", "bits": "true"}
    )
    assert found == replace(base, steps=20, optimizer=Optimizer(lr=1e-3), widths=(3, 4), name="plain text", bits=True)
    assert base == Recipe(steps=10, name="x")
    assert override(base, {}) == base
    assert override(replace(base, limit=4), {"limit": "null"}).limit is None
    assert override(base, {"crop": '{"size": 8}'}).crop == Crop(size=8)


@given(RECIPES.filter(sound), st.integers(min_value=1), FLOATS.filter(lambda lr: lr > 0))
def test_an_override_by_json_sets_exactly_that_field(recipe, steps, lr):
    found = override(recipe, {"steps": json.dumps(steps), "optimizer.lr": json.dumps(lr)})
    assert found == replace(recipe, steps=steps, optimizer=replace(recipe.optimizer, lr=lr))


def test_all_faults_of_an_override_come_at_once_and_name_the_fields_there_are():
    with pytest.raises(ConfigError) as caught:
        override(Recipe(steps=1), {"stepz": "1", "optimizer.rate": "1", "steps.deeper": "1", "nothing.at.all": "1"})
    for part in (
        "stepz is not a recipe field",
        "optimizer.rate is not a recipe field; here the fields are betas, kind, lr",
        "steps.deeper is not a recipe field",
        "nothing.at.all is not a recipe field",
    ):
        assert part in str(caught.value), part


def test_an_override_of_the_wrong_type_is_rejected():
    with pytest.raises(ConfigError, match=r"optimizer\.lr must be a valid number, found 'quick'"):
        override(Recipe(steps=1), {"optimizer.lr": "quick"})


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_a_fault_wherever_it_is(value):
    base = Recipe(steps=1)
    for field in ("optimizer.lr", "optimizer.betas"):
        text = f"[0.9, {value}]" if field.endswith("betas") else value
        with pytest.raises(ConfigError, match=rf"{field}(\[1\])? must be a finite number"):
            check(override(base, {field: text}))


def test_check_collects_the_faults_of_all_parts_with_their_paths():
    check(Recipe(steps=1))
    with pytest.raises(ConfigError) as caught:
        check(Recipe(steps=0, optimizer=Optimizer(lr=-1.0)))
    assert str(caught.value) == ("Recipe: steps must be positive, found 0. optimizer: lr must be positive, found -1.0.")


def test_a_text_field_takes_digits_and_words_that_json_knows_without_quotes():
    base = Recipe(steps=1)
    for text in ("2024", "true", "1e5", "null", "[1]", "{"):
        assert override(base, {"name": text}).name == text
    assert override(base, {"name": '"2024"'}).name == "2024"


def test_a_field_that_may_be_none_still_takes_null_and_numbers():
    assert override(Recipe(steps=1, limit=4), {"limit": "null"}).limit is None
    assert override(Recipe(steps=1), {"limit": "7"}).limit == 7


def test_a_text_field_below_an_optional_config_takes_digits():
    assert override(Outer(inner=Recipe(steps=1)), {"inner.name": "7"}).inner == Recipe(steps=1, name="7")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranged(Config):
    """For ranges, docs and unions."""

    count: Positive = 1
    """How many."""
    share: Fraction = 0.5
    """Of the whole."""
    part: Optimizer | Crop = Optimizer()
    """One of two."""


def test_ranges_stand_in_the_type_and_every_number_out_of_it_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        from_plain(Ranged, {"count": 0, "share": 1.5, "part": {"size": 2}})
    assert str(caught.value) == (
        "count must be greater than or equal to 1, found 0. share must be less than or equal to 1, found 1.5."
    )


def test_of_a_union_the_option_with_the_fewest_errors_is_the_one_that_was_meant() -> None:
    assert from_plain(Ranged, {"part": {"size": 3}}).part == Crop(size=3)
    with pytest.raises(ConfigError, match=r"^part\.size must be a valid integer, found 'x'\.$"):
        from_plain(Ranged, {"part": {"size": "x"}})


def test_rules_are_asked_beside_fields_that_are_out_of_range() -> None:
    with pytest.raises(ConfigError) as caught:
        override(Recipe(steps=1), {"widths": '["a"]', "optimizer.lr": "-1"})
    assert "widths[0] must be" in str(caught.value)
    assert "optimizer: lr must be positive, found -1.0." in str(caught.value)


def test_a_field_that_is_spelled_wrongly_is_guessed() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean optimizer\.betas\?"):
        override(Recipe(steps=1), {"optimizer.beta": "[1, 1]"})


def test_the_strings_under_the_fields_are_the_docs_and_the_schema_has_the_ranges() -> None:
    assert field_docs(Ranged)["count"].doc == "How many."
    assert field_docs(Ranged)["share"].kind == "number >= 0 <= 1"
    assert json_schema(Ranged)["properties"]["count"]["minimum"] == 1
    assert json_schema(Ranged)["additionalProperties"] is False


@given(RECIPES.filter(sound), RECIPES.filter(sound))
def test_nested_changes_are_what_override_takes(one: Recipe, other: Recipe) -> None:
    assert override(one, assignments_of(one, as_plain(other))) == other
