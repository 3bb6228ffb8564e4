"""The application: which commands there are, and how errors leave it."""

from __future__ import annotations

import sys

import typer

from lsr import __version__
from lsr.cli import data, doctor, gc, images, models, recipe, report, stages, study
from lsr.core.errors import LsrError

app = typer.Typer(
    name="lsr",
    help="Arbitrary-scale image generation and super-resolution: from raw photos to a promoted model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lsr {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of `lsr` itself."""


stages.add_to(app)
images.add_to(app)
models.add_to(app)
report.add_to(app)
recipe.add_to(app)
data.add_to(app)
study.add_to(app)
gc.add_to(app)
doctor.add_to(app)


def run() -> None:
    """Run the command line: an error that a user can cause becomes one sentence and its exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except LsrError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        # Empty for a command without arguments: its help is on the terminal already.
        if message := error.format_message():
            typer.echo(f"error: {message.rstrip('.')}; `lsr --help` shows what there is.", err=True)
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        sys.exit(130)
