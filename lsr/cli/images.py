"""`lsr upscale` and `lsr generate`: one image at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lsr.cli.common import AsJson, show
from lsr.core.config import check
from lsr.core.errors import InputError
from lsr.diffusion.config import SamplerConfig, SamplerName

ModelName = Annotated[
    str,
    typer.Option("--model", "-m", help="name@alias, name/version, a file of `lsr models export`, or a shipped model."),
]
SamplerOption = Annotated[
    SamplerName | None,
    typer.Option(help="dpm++ needs fewer steps; only ddim takes an eta. [default: as the version was evaluated]"),
]
Steps = Annotated[int | None, typer.Option(help="Sampler steps. [default: as the version was evaluated]", min=1)]
Eta = Annotated[
    float | None,
    typer.Option(help="0 deterministic, 1 ancestral noise. [default: as the version was evaluated]", min=0, max=1),
]
Fidelity = Annotated[
    float | None,
    typer.Option(
        help="1 adds no detail that is not certain, 0 draws all of it. [default: as the version was evaluated]",
        min=0,
        max=1,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of every draw.")]


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` as (height, width). Raises InputError for anything else."""
    width, cross, height = text.lower().partition("x")
    if not cross or not width.isdigit() or not height.isdigit() or int(width) < 1 or int(height) < 1:
        raise InputError(f"A size is WIDTHxHEIGHT in pixels, both at least 1, e.g. 512x384; found {text!r}.")
    return int(height), int(width)


def _fields(**given: Any) -> dict[str, Any]:
    """The sampler's fields that were given. Raises ConfigError with every broken rule among them."""
    fields = {name: value for name, value in given.items() if value is not None}
    check(SamplerConfig(**fields))
    return fields


def upscale(
    image: Annotated[Path, typer.Argument(help="An image of any size and aspect ratio.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the result (PNG, JPEG, WebP).")],
    scale: Annotated[float | None, typer.Option(help="Any real factor above 0, e.g. 3.7.")] = None,
    size: Annotated[str | None, typer.Option(help="Target size instead of a factor, WIDTHxHEIGHT.")] = None,
    model: ModelName = "photo",
    steps: Steps = None,
    eta: Eta = None,
    sampler: SamplerOption = None,
    fidelity: Fidelity = None,
    seed: Seed = 0,
    json_: AsJson = False,
) -> None:
    """Upscale one image by any real factor or to any size."""
    how = _fields(name=sampler, steps=steps, eta=eta, fidelity=fidelity, seed=seed)
    from lsr.core.settings import load_settings
    from lsr.inference.request import Target
    from lsr.tools.images import upscale_file

    target = Target(scale, parse_size(size) if size else None)
    report = upscale_file(load_settings(), model, image, output, target, how)
    show(report) if json_ else typer.echo(
        f"{report['input']} -> {report['output']} {report['path']} ({report['model']})"
        + (f", input converted: {', '.join(report['converted'])}" if report["converted"] else "")
    )


def generate(
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the images.")] = "128x128",
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 4,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the images.")] = Path("generated"),
    model: ModelName = "lsr-demo-generate@champion",
    steps: Steps = None,
    eta: Eta = None,
    sampler: SamplerOption = None,
    seed: Seed = 0,
    json_: AsJson = False,
) -> None:
    """Generate images from noise, decoded at any size."""
    target, how = parse_size(size), _fields(name=sampler, steps=steps, eta=eta, seed=seed)
    from lsr.core.settings import load_settings
    from lsr.tools.images import generate_files

    paths = generate_files(load_settings(), model, output, target, count, how)
    if json_:
        show({"images": [str(path) for path in paths]})
    else:
        typer.echo("\n".join(str(path) for path in paths))


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (upscale, generate):
        app.command(rich_help_panel="Images")(command)
