"""Options and helpers that several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.core.errors import ConfigError

if TYPE_CHECKING:
    from lsr.engine.context import Context
    from lsr.recipes.run import Run
    from lsr.recipes.schema import Recipe

RecipeName = Annotated[str, typer.Option("--recipe", "-r", help="Recipe name, or your own as package.module:function.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override a recipe field, what is learned, e.g. denoise.train.images=9600."),
]
RunName = Annotated[
    str, typer.Option("--run", help="How it is carried out: laptop, one-gpu, cluster, or package.module:function.")
]
RunOverrides = Annotated[
    list[str] | None,
    typer.Option("--set-run", help="Override a field of the run, which changes no result, e.g. train.workers=4."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def pairs_from(assignments: list[str] | None, option: str = "--set") -> dict[str, str]:
    """`["a.b=1"]` as `{"a.b": "1"}`. Raises ConfigError for an entry without `=`."""
    pairs = {}
    for text in assignments or []:
        field, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{option} takes FIELD=VALUE, found {text!r}.")
        pairs[field] = value
    return pairs


def recipe_from(name: str, assignments: list[str] | None) -> Recipe:
    """The recipe with its `--set` overrides."""
    from lsr.recipes import load_recipe

    return load_recipe(name, pairs_from(assignments))


def run_from(name: str, assignments: list[str] | None) -> Run:
    """The run with its `--set-run` overrides."""
    from lsr.recipes.run import load_run

    return load_run(name, pairs_from(assignments, "--set-run"))


@contextmanager
def context_for(recipe: Recipe, run: Run, *, quiet: bool = False) -> Iterator[Context]:
    """A Context with live progress on standard error."""
    from lsr.core.progress import Quiet, RichProgress
    from lsr.core.settings import load_settings
    from lsr.engine.context import open_context

    progress = Quiet() if quiet else RichProgress()
    with open_context(load_settings(), run, pipeline=recipe.name, progress=progress) as ctx:
        yield ctx


def show(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, default=str))


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table on standard output."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    Console().print(grid)
