"""`lsr upscale` and `lsr generate`: one image at a time, with a registered model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.common import AsJson, show
from lsr.core.config import check
from lsr.core.errors import InputError
from lsr.diffusion.config import SamplerConfig, SamplerName

ModelName = Annotated[str, typer.Option("--model", "-m", help="name@alias or name/version.")]
SamplerOption = Annotated[SamplerName, typer.Option(help="dpm++ needs fewer steps; only ddim takes an eta.")]
Steps = Annotated[int, typer.Option(help="Sampler steps.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of every draw.")]


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` as (height, width). Raises InputError for anything else."""
    width, cross, height = text.lower().partition("x")
    if not cross or not width.isdigit() or not height.isdigit() or int(width) < 1 or int(height) < 1:
        raise InputError(f"A size is WIDTHxHEIGHT in pixels, both at least 1, e.g. 512x384; found {text!r}.")
    return int(height), int(width)


def _sampler(name: SamplerName, steps: int, eta: float, seed: int) -> SamplerConfig:
    """The four options as one config. Raises ConfigError with every broken rule."""
    sampler = SamplerConfig(name=name, steps=steps, eta=eta, seed=seed)
    check(sampler)
    return sampler


def upscale(
    image: Annotated[Path, typer.Argument(help="An image of any size and aspect ratio.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the result (PNG, JPEG, WebP).")],
    scale: Annotated[float | None, typer.Option(help="Any real factor above 0, e.g. 3.7.")] = None,
    size: Annotated[str | None, typer.Option(help="Target size instead of a factor, WIDTHxHEIGHT.")] = None,
    model: ModelName = "lsr-demo@champion",
    steps: Steps = 10,
    eta: Annotated[float, typer.Option(help="0 deterministic DDIM, 1 ancestral noise.", min=0, max=1)] = 0.0,
    sampler: SamplerOption = "ddim",
    seed: Seed = 0,
    json_: AsJson = False,
) -> None:
    """Upscale one image by any real factor or to any size."""
    drawn = _sampler(sampler, steps, eta, seed)
    from lsr.core.settings import load_settings
    from lsr.inference.request import Target
    from lsr.tools.images import upscale_file

    target = Target(scale, parse_size(size) if size else None)
    report = upscale_file(load_settings(), model, image, output, target, drawn)
    show(report) if json_ else typer.echo(
        f"{report['input']} -> {report['output']} {report['path']} ({report['model']})"
        + (f", input converted: {', '.join(report['converted'])}" if report["converted"] else "")
    )


def generate(
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the images.")] = "128x128",
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 4,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the images.")] = Path("generated"),
    model: ModelName = "lsr-demo-generate@champion",
    steps: Steps = 50,
    eta: Annotated[float, typer.Option(help="0 deterministic DDIM, 1 ancestral noise.", min=0, max=1)] = 0.0,
    sampler: SamplerOption = "ddim",
    seed: Seed = 0,
    json_: AsJson = False,
) -> None:
    """Generate images from noise, decoded at any size."""
    target, drawn = parse_size(size), _sampler(sampler, steps, eta, seed)
    from lsr.core.settings import load_settings
    from lsr.tools.images import generate_files

    paths = generate_files(load_settings(), model, output, target, count, drawn)
    if json_:
        show({"images": [str(path) for path in paths]})
    else:
        typer.echo("\n".join(str(path) for path in paths))


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (upscale, generate):
        app.command(rich_help_panel="Images")(command)
