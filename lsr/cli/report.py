"""`lsr report`: the report page of a recipe's result or of a registered version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.common import AsJson, Overrides, RecipeName, context_for, recipe_from, run_from, show
from lsr.core.errors import ConfigError


def report(
    recipe: RecipeName = "demo",
    set_: Overrides = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A version instead of a recipe: name@alias or name/version.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "--out", "-o", help="Where to write it.")] = Path("report.html"),
    json_: AsJson = False,
) -> None:
    """Write one HTML file: images before and after, curves, the table, the gate and the lineage."""
    if model is not None:
        if set_:
            raise ConfigError("--set changes a recipe and a registered version has none; leave --set or --model out.")
        from lsr.core.settings import load_settings
        from lsr.tools.page import write_version_page

        facts = write_version_page(load_settings(), model, output)
    else:
        chosen = recipe_from(recipe, set_)
        from lsr.tools.page import write_recipe_page

        with context_for(chosen, run_from("laptop", None), quiet=True) as ctx:
            facts = write_recipe_page(chosen, ctx, output)
    show(facts) if json_ else typer.echo(f"{facts['path']}  {facts['bytes'] / 1e6:.2f} MB")


def add_to(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command("report", rich_help_panel="Inspection")(report)
