"""`lsr gc`: what nothing reaches any more, and its deletion."""

from __future__ import annotations

from typing import Annotated

import typer

from lsr.cli.common import AsJson, show, table


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; otherwise it is only counted.")] = False,
    grace: Annotated[float, typer.Option(help="Days for which everything stays after its last change.")] = 7.0,
    checkpoints_older_than: Annotated[
        float | None,
        typer.Option(help="Also checkpoints of runs that nobody has worked on for so many days."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Count or delete what no record, run, registered version or promotion of the store reaches."""
    from lsr.core.settings import load_settings
    from lsr.tools.gc import DAY, collect

    old = None if checkpoints_older_than is None else checkpoints_older_than * DAY
    found = collect(load_settings(), delete=delete, grace=grace * DAY, checkpoints_older_than=old)
    if json_:
        show(found)
        return
    rows = [[name, each["objects"], each["bytes"]] for name, each in found["kinds"].items()]
    rows.append(["kept", found["kept"]["objects"], found["kept"]["bytes"]])
    table("Deleted" if delete else "Unreached", ["kind", "objects", "bytes"], rows)
    if not delete and found["kinds"]:
        typer.echo("Nothing was deleted; `lsr gc --delete` deletes it.")


def add_to(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(rich_help_panel="Inspection")(gc)
