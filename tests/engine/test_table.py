"""The pipeline as data: keys change for exactly what depends on a field; functions fit their configs."""

from __future__ import annotations

import importlib
import typing
from dataclasses import replace

import pytest

import data_prep.latents
import data_prep.shard
import data_prep.tile
from lsr.core.canonical import action_key
from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.engine.table import LATENTS, PIPELINE, SHARD, TILE, key_of, request_of, stage_named
from lsr.recipes import load_recipe
from lsr.recipes.run import load_run
from lsr.recipes.schema import SCHEMA, Recipe
from lsr.store.attempts import Lease


def keys(recipe: Recipe) -> dict[str, str]:
    """Every step's key when each result's digest is a function of its key, as it is for deterministic stages."""
    refs = {"snapshot": Ref(kind="snapshot", key="s", digest="5" * 64, path="snapshots/x.json")}
    out = {}
    for name, step in PIPELINE.items():
        key = key_of(step, recipe, {i: refs[i] for i in step.inputs})
        refs[name] = Ref(kind=step.kind, key=key, digest=key, path=f"x/{key}.json")
        out[name] = key
    return out


def changed(**overrides: str) -> set[str]:
    """Names of the steps whose key differs from the demo recipe's under these overrides."""
    before = keys(load_recipe("demo"))
    after = keys(load_recipe("demo", {name.replace("__", "."): value for name, value in overrides.items()}))
    return {name for name in before if before[name] != after[name]}


def test_a_field_changes_what_depends_on_it_and_nothing_before() -> None:
    assert changed(joint__train__images="800") == {"joint", "evaluate"}
    assert changed(denoise__train__lr="0.5") == {"denoise", "joint", "evaluate"}
    assert changed(decoder__train__images="800") == {"decoder", "latents", "denoise", "joint", "evaluate"}
    assert changed(tile__stride="64") == set(PIPELINE) - {"shard"}
    assert changed(shard__holdout="0.5") == set(PIPELINE)


def test_how_it_is_run_is_in_no_key() -> None:
    """A request differs by its run in nothing but the run itself."""
    inputs = {"snapshot": Ref(kind="snapshot", key="s", digest="5" * 64, path="snapshots/x.json")}
    one, other = (request_of(SHARD, load_recipe("demo"), load_run(name), inputs) for name in ("laptop", "cluster"))
    assert replace(one, run=other.run) == other
    assert one.run != other.run


def test_every_field_is_in_a_key_also_at_its_default() -> None:
    """A default that changes in a later version changes the key, although no recipe names the field."""
    tile = load_recipe("demo").tile
    assert "max_shard_bytes" in as_plain(tile)
    inputs = {"shard": Ref(kind="images", key="s", digest="5" * 64, path="x")}
    given = as_plain(tile)
    config = {"part": given, "schema": SCHEMA}
    assert TILE.key(tile, inputs, seed=1, task="x") == action_key("tile", TILE.version, {"shard": "5" * 64}, config)


def test_names_and_the_gate_change_no_stage() -> None:
    assert changed(name='"other"', gate__confidence="0.5", model='"x"') == set()


def test_the_seed_belongs_to_trained_and_measured_results_only() -> None:
    assert changed(seed="8") == {"autoencoder", "decoder", "latents", "denoise", "joint", "evaluate"}


@pytest.mark.parametrize("name", [*PIPELINE, "infer", "baseline", "measure"])
def test_a_stage_names_a_function_that_takes_its_config(name: str) -> None:
    """The table is where a name becomes a function, so this is what mypy cannot see."""
    stage = stage_named(name)
    module, _, function = stage.function.partition(":")
    hints = typing.get_type_hints(getattr(importlib.import_module(module), function))
    assert list(hints.values()) == [Request, stage.config, Context, Lease, Ref]
    assert all(name in ("snapshot", "images") or name in PIPELINE for name in stage.inputs)


def test_a_shard_is_keyed_by_the_version_of_its_stage() -> None:
    """What is kept per shard and what manifests say is the stage's own number."""
    for module, stage in ((data_prep.shard, SHARD), (data_prep.tile, TILE), (data_prep.latents, LATENTS)):
        numbers = {value for name, value in vars(module).items() if name.endswith("_VERSION")}
        assert numbers == {stage.version}
