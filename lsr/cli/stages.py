"""`lsr retrain` and one command per stage."""

from __future__ import annotations

from typing import Annotated

import typer

from lsr.cli.common import (
    AsJson,
    Overrides,
    RecipeName,
    RunName,
    RunOverrides,
    context_for,
    pairs_from,
    recipe_from,
    run_from,
    show,
)

PANEL = "Stages, in the order of the pipeline"
ABOUT = {
    "shard": "Check, orient, deduplicate and pack raw images into WebDataset tars.",
    "tile": "Cut the training set from the image shards: fixed size, lossless.",
    "autoencoder": "Train the autoencoder.",
    "decoder": "Train the implicit neural decoder at random scales.",
    "latents": "Encode every tile and its LR condition once.",
    "denoise": "Train the latent diffusion U-Net, denoising alone.",
    "joint": "Train denoising and alignment jointly, through the fixed decoder.",
    "evaluate": "Measure on held-out photos, beside bicubic.",
}


def retrain(
    recipe: RecipeName = "demo",
    set_: Overrides = None,
    run: RunName = "laptop",
    set_run: RunOverrides = None,
    json_: AsJson = False,
) -> None:
    """Run the whole pipeline as the Prefect flow [bold]retrain[/]: shards to a gated, registered model."""
    from flows.start import run_retrain

    report = run_retrain(recipe, pairs_from(set_), run, pairs_from(set_run, "--set-run"), quiet=json_)
    if json_:
        show(report)


def _stage_command(name: str) -> None:
    def command(
        recipe: RecipeName = "demo",
        set_: Overrides = None,
        run: RunName = "laptop",
        set_run: RunOverrides = None,
        upstream: Annotated[bool, typer.Option(help="Make missing inputs first.")] = False,
        json_: AsJson = False,
    ) -> None:
        chosen = recipe_from(recipe, set_)
        from lsr.engine.pipeline import run_stage

        with context_for(chosen, run_from(run, set_run), quiet=json_) as ctx:
            outcome = run_stage(name, chosen, ctx, upstream=upstream)
        if json_:
            show(
                {
                    "stage": name,
                    "made": outcome.made,
                    "seconds": outcome.seconds,
                    "note": outcome.note,
                    **outcome.ref.as_dict(),
                }
            )
        else:
            verb = "made" if outcome.made else "reused"
            typer.echo(f"{name}: {verb} in {outcome.seconds:.1f} s  {outcome.ref.path}  {outcome.note}".rstrip())

    command.__doc__ = ABOUT[name]
    _commands[name] = command


_commands: dict[str, object] = {}
for _name in ABOUT:
    _stage_command(_name)


def register(
    recipe: RecipeName = "demo",
    set_: Overrides = None,
    run: RunName = "laptop",
    set_run: RunOverrides = None,
    json_: AsJson = False,
) -> None:
    """Register the trained system as a self-contained model version."""
    chosen = recipe_from(recipe, set_)
    from lsr.engine.pipeline import finished_inputs
    from lsr.stages.register import register as register_stage

    with context_for(chosen, run_from(run, set_run), quiet=json_) as ctx:
        version = register_stage(chosen, finished_inputs(chosen, ctx), ctx)
    show(version.as_dict()) if json_ else typer.echo(f"registered {version.name} version {version.number}")


def gate(
    recipe: RecipeName = "demo",
    set_: Overrides = None,
    run: RunName = "laptop",
    set_run: RunOverrides = None,
    version: Annotated[int | None, typer.Option(help="Version number; default: the recipe's own result.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also if it was rolled back from or retired before.")] = False,
    json_: AsJson = False,
) -> None:
    """Judge a registered version against the floor and the champion; promote it on PASS."""
    chosen = recipe_from(recipe, set_)
    from lsr.core.errors import GateRejectedError
    from lsr.engine.pipeline import finished_inputs
    from lsr.stages.gate import gate as gate_stage

    with context_for(chosen, run_from(run, set_run), quiet=json_) as ctx:
        result = gate_stage(chosen, finished_inputs(chosen, ctx), ctx, version=version, again=again)
    show(result.as_dict()) if json_ else typer.echo(result.text)
    if result.decision != "PASS":
        raise GateRejectedError(f"The gate said {result.decision}; nothing was promoted.")


def infer(
    recipe: RecipeName = "demo",
    set_: Overrides = None,
    run: RunName = "laptop",
    set_run: RunOverrides = None,
    json_: AsJson = False,
) -> None:
    """Batch inference: the promoted version over the recipe's [bold]infer.source[/]."""
    chosen = recipe_from(recipe, set_)
    from lsr.stages.infer import infer as infer_stage

    with context_for(chosen, run_from(run, set_run), quiet=json_) as ctx:
        result = infer_stage(chosen, ctx)
    show(result.as_dict()) if json_ else typer.echo(result.text)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command("retrain", rich_help_panel="The main job")(retrain)
    for name, command in _commands.items():
        app.command(name, rich_help_panel=PANEL)(command)  # type: ignore[type-var]
    for command in (register, gate, infer):
        app.command(rich_help_panel=PANEL)(command)
