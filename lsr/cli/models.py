"""`lsr runs` and `lsr models`: what was tracked, which versions there are, which one is promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.common import AsJson, show, table

models = typer.Typer(help="Registered versions, promotion and rollback.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Registered model name.")]


def runs(limit: Annotated[int, typer.Option(help="At most this many.", min=1)] = 20, json_: AsJson = False) -> None:
    """List tracked runs, newest first; runs whose process is gone are closed first."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import list_runs

    found = list_runs(load_settings(), limit)
    if json_:
        show(found)
    else:
        columns = ["stage", "status", "started", "seconds", "run_id", "action"]
        table("Runs", columns, [[run[c] for c in columns] for run in found])


@models.command("list")
def list_models(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None, json_: AsJson = False
) -> None:
    """List versions with their aliases and digests."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import list_versions_of

    found = list_versions_of(load_settings(), name)
    if json_:
        show(found)
    else:
        columns = ["name", "version", "aliases", "digest"]
        table("Model versions", columns, [[version[c] for c in columns] for version in found])


@models.command("log")
def log(name: Name, json_: AsJson = False) -> None:
    """Print the promotion log, the truth behind the aliases."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import promotion_log

    records = promotion_log(load_settings(), name)
    if json_:
        show(records)
    else:
        columns = ["n", "action", "version", "digest", "who", "when"]
        table(f"Promotions of {name}", columns, [[record[c] for c in columns] for record in records])


@models.command("rollback")
def rollback(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")],
    to: Annotated[int | None, typer.Option(help="An earlier champion's version; default: the one before.")] = None,
    json_: AsJson = False,
) -> None:
    """Put an earlier champion back: one more record in the log."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import roll_back

    record = roll_back(load_settings(), name, reason, to)
    show(record) if json_ else typer.echo(f"{name}: version {record['version']} is champion again")


@models.command("retire")
def retire(
    name: Name, reason: Annotated[str, typer.Option(help="Why; kept in the log.")], json_: AsJson = False
) -> None:
    """Take the champion out of production; nobody takes its place until a version passes the gate."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import retire_champion

    record = retire_champion(load_settings(), name, reason)
    show(record) if json_ else typer.echo(f"{name}: version {record['version']} is no longer champion; nobody is")


@models.command("reconcile")
def reconcile(name: Name, json_: AsJson = False) -> None:
    """Repair the registry's aliases where they disagree with the promotion log."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import repair_aliases

    changes = repair_aliases(load_settings(), name)
    show(changes) if json_ else typer.echo("\n".join(changes) or f"{name}: the aliases agree with the log")


@models.command("export")
def export_model(
    model: Annotated[str, typer.Argument(help="name@alias or name/version.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, NAME.safetensors.")],
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16, half the size.")] = False,
    json_: AsJson = False,
) -> None:
    """Write a version as one file: weights, config, model card and lineage."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import export_version

    report = export_version(load_settings(), model, output, half=half)
    show(report) if json_ else typer.echo(f"{report['model']} -> {report['path']} ({report['bytes']} bytes)")


@models.command("import")
def import_model(
    file: Annotated[str, typer.Argument(help="A file of `lsr models export`, or `photo`, which ships with LSR.")],
    name: Annotated[str, typer.Option(help="Registered model to add the version to.")],
    json_: AsJson = False,
) -> None:
    """Register a model file as a version. It becomes champion only through the gate."""
    from lsr.core.settings import load_settings
    from lsr.tools.models import import_version

    report = import_version(load_settings(), file, name)
    show(report) if json_ else typer.echo(f"{report['name']}: version {report['version']} ({report['digest'][:12]})")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command("runs", rich_help_panel="Inspection")(runs)
    app.add_typer(models, name="models", rich_help_panel="Inspection")
