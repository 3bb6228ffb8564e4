"""The line as data: keys change for exactly what depends on a field, and a stage's key is stable over releases."""

from __future__ import annotations

from lsr.core.refs import Ref
from lsr.engine.table import STEPS, key_of
from lsr.recipes import load_recipe
from lsr.recipes.schema import Recipe


def keys(recipe: Recipe) -> dict[str, str]:
    """Every step's key when each result's digest is a function of its key, as it is for deterministic stages."""
    refs = {"snapshot": Ref(kind="snapshot", key="s", digest="5" * 64, path="snapshots/x.json")}
    out = {}
    for name, step in STEPS.items():
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
    assert changed(joint__train__steps="7") == {"joint", "evaluate"}
    assert changed(denoise__train__lr="0.5") == {"denoise", "joint", "evaluate"}
    assert changed(decoder__train__steps="7") == {"decoder", "latents", "denoise", "joint", "evaluate"}
    assert changed(tile__stride="64") == set(STEPS) - {"shard"}
    assert changed(shard__holdout="0.5") == set(STEPS)


def test_how_work_is_spread_changes_no_key() -> None:
    assert changed(compute__workers="1", compute__tasks="7") == set()


def test_names_and_the_gate_change_no_stage() -> None:
    assert changed(name='"other"', gate__confidence="0.5", model='"x"') == set()


def test_the_seed_belongs_to_trained_and_measured_results_only() -> None:
    assert changed(seed="8") == {"autoencoder", "decoder", "latents", "denoise", "joint", "evaluate"}


def test_every_step_names_a_function_that_exists() -> None:
    for step in STEPS.values():
        assert callable(step.load())
        assert all(name == "snapshot" or name in STEPS for name in step.inputs)
