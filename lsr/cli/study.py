"""`lsr study`: several systems, one budget, one protocol, one table."""

from __future__ import annotations

from typing import Annotated

import typer

from lsr.cli.common import AsJson, Overrides, RunName, RunOverrides, context_for, pairs_from, run_from, show


def study(
    name: Annotated[
        str, typer.Option("--recipe", "-r", help="Study name, or package.module:function.")
    ] = "study-2core",
    set_: Overrides = None,
    run: RunName = "laptop",
    set_run: RunOverrides = None,
    json_: AsJson = False,
) -> None:
    """Train every system of a study with every seed, measure all under one protocol, write the table and images."""
    from lsr.recipes.study import load_study

    chosen = load_study(name, pairs_from(set_))
    from lsr.study.run import run_study

    with context_for(chosen.ours, run_from(run, set_run), quiet=json_) as ctx:
        result = run_study(chosen, ctx)
    if json_:
        show({"study": chosen.name, "files": [str(path) for path in result.files]})
    else:
        typer.echo((result.folder / "table.md").read_text())
        typer.echo(f"written to {result.folder}")


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("study", rich_help_panel="Studies")(study)
