"""`lsr recipe` and `lsr run`: what recipes and runs there are, their fields, and how two differ."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from lsr.cli.common import AsJson, Overrides, RunOverrides, recipe_from, run_from, show, table

recipe_app = typer.Typer(help="Recipes: what is learned. Their fields make every key.", no_args_is_help=True)
run_app = typer.Typer(help="Runs: how a recipe is carried out. Their fields are in no key.", no_args_is_help=True)

WIDTH = 100

Name = Annotated[str, typer.Argument(help="Built in, or package.module:function.")]
Prefix = Annotated[str, typer.Argument(help="Only fields that start with this, e.g. denoise.train.")]


def _listed(names: dict[str, str], *, as_json: bool) -> None:
    """Every name with the first line of its function's docstring."""
    rows = [{"name": name, "about": _about(target)} for name, target in names.items()]
    if as_json:
        show(rows)
    else:
        table("", ["name", "about"], [[row["name"], row["about"]] for row in rows])


def _about(target: str) -> str:
    import importlib
    import inspect

    module, _, function = target.partition(":")
    return (inspect.getdoc(getattr(importlib.import_module(module), function)) or "").partition("\n")[0]


def fields_of(config: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """Dotted name, type, value and doc of every field below `config` that is no config itself."""
    from lsr.core.config import as_plain, field_docs

    docs = field_docs(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{path}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{name}.")
        else:
            found = docs[field.name]
            yield {"field": name, "type": found.kind, "value": as_plain(value), "doc": found.doc}


def _show_fields(config: Any, prefix: str, *, as_json: bool) -> None:
    rows = [row for row in fields_of(config) if row["field"].startswith(prefix)]
    if as_json:
        show(rows)
    else:
        for row in rows:
            typer.echo(f"{row['field']}={json.dumps(row['value'])}  ({row['type']})")
            typer.echo(textwrap.indent(textwrap.fill(row["doc"], WIDTH), "    "))


def _show_values(config: Any, *, as_json: bool) -> None:
    from lsr.core.config import as_plain, leaves

    if as_json:
        show(as_plain(config))
    else:
        typer.echo("\n".join(f"{name}={json.dumps(as_plain(value))}" for name, value in leaves(config)))


@recipe_app.command("list")
def list_recipes(json_: AsJson = False) -> None:
    """List the built-in recipes."""
    from lsr.recipes import BUILT_IN

    _listed(BUILT_IN, as_json=json_)


@recipe_app.command("show")
def show_recipe(name: Name = "demo", set_: Overrides = None, json_: AsJson = False) -> None:
    """Print every field of a recipe as FIELD=VALUE, ready for --set."""
    _show_values(recipe_from(name, set_), as_json=json_)


@recipe_app.command("fields")
def recipe_fields(prefix: Prefix = "", recipe: Name = "demo", json_: AsJson = False) -> None:
    """Explain the fields of a recipe: type, value and meaning."""
    _show_fields(recipe_from(recipe, None), prefix, as_json=json_)


@recipe_app.command("diff")
def diff_recipes(one: Name, other: Name, set_: Overrides = None, json_: AsJson = False) -> None:
    """Print the fields in which two recipes differ; --set changes the second one."""
    from lsr.core.config import as_plain, leaves

    recipes = (recipe_from(one, None), recipe_from(other, set_))
    values = [{name: as_plain(value) for name, value in leaves(recipe)} for recipe in recipes]
    names = dict.fromkeys([*values[0], *values[1]])
    # A part that one recipe lacks has no fields there.
    rows = [
        {"field": name, one: values[0].get(name), other: values[1].get(name)}
        for name in names
        if values[0].get(name, ...) != values[1].get(name, ...)
    ]
    if json_:
        show(rows)
    else:
        table("", ["field", one, other], [[r["field"], json.dumps(r[one]), json.dumps(r[other])] for r in rows])


@run_app.command("list")
def list_runs(json_: AsJson = False) -> None:
    """List the built-in runs."""
    from lsr.recipes.run import BUILT_IN

    _listed(BUILT_IN, as_json=json_)


@run_app.command("show")
def show_run(name: Name = "laptop", set_run: RunOverrides = None, json_: AsJson = False) -> None:
    """Print every field of a run as FIELD=VALUE, ready for --set-run."""
    _show_values(run_from(name, set_run), as_json=json_)


@run_app.command("fields")
def run_fields(prefix: Prefix = "", run: Name = "laptop", json_: AsJson = False) -> None:
    """Explain the fields of a run: type, value and meaning."""
    _show_fields(run_from(run, None), prefix, as_json=json_)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(recipe_app, name="recipe", rich_help_panel="Inspection")
    app.add_typer(run_app, name="run", rich_help_panel="Inspection")
