"""Registered versions and their promotion log, as the command line shows and changes them."""

from __future__ import annotations

import getpass
import tempfile
from pathlib import Path
from typing import Any

from lsr.core.canonical import sha256_hex
from lsr.core.errors import InputError
from lsr.core.files import write_whole
from lsr.core.settings import Settings
from lsr.engine.context import EXPERIMENT
from lsr.store import open_store


def list_runs(settings: Settings, limit: int) -> list[dict[str, Any]]:
    """Tracked runs, newest first, after runs whose process is gone were closed."""
    from lsr.registry.listing import recent_runs
    from lsr.registry.runs import close_orphans

    close_orphans(settings.mlflow)
    return recent_runs(settings.mlflow, limit)


def list_versions_of(settings: Settings, name: str | None) -> list[dict[str, Any]]:
    """Versions of one model or of all, with their aliases."""
    from lsr.registry.listing import model_names
    from lsr.registry.versions import aliases_of, list_versions

    rows = []
    for model in [name] if name else model_names(settings.mlflow):
        aliases = aliases_of(settings.mlflow, model)
        for version in list_versions(settings.mlflow, model):
            held = sorted(alias for alias, number in aliases.items() if number == version.number)
            rows.append(
                {"name": model, "version": version.number, "aliases": ", ".join(held), "digest": version.digest}
            )
    return rows


def promotion_log(settings: Settings, name: str) -> list[dict[str, Any]]:
    """The promotion log of a model, oldest first."""
    from dataclasses import asdict

    from lsr.registry.promotion import read_log

    return [asdict(record) for record in read_log(open_store(settings.store), name)]


def roll_back(settings: Settings, name: str, reason: str, to: int | None = None) -> dict[str, Any]:
    """Return to the champion before today's, or to the earlier champion `to`."""
    from dataclasses import asdict

    from lsr.registry.aliases import reconcile
    from lsr.registry.promotion import rollback

    store = open_store(settings.store)
    record = rollback(store, name, who=getpass.getuser(), reason=reason, to=to)
    reconcile(store, settings.mlflow, name)
    return asdict(record)


def retire_champion(settings: Settings, name: str, reason: str) -> dict[str, Any]:
    """Take the champion out of production with nobody in its place."""
    from dataclasses import asdict

    from lsr.registry.aliases import reconcile
    from lsr.registry.promotion import retire

    store = open_store(settings.store)
    record = retire(store, name, who=getpass.getuser(), reason=reason)
    reconcile(store, settings.mlflow, name)
    return asdict(record)


def repair_aliases(settings: Settings, name: str) -> list[str]:
    """What had to change for MLflow's aliases to agree with the log."""
    from lsr.registry.aliases import reconcile

    return [str(change) for change in reconcile(open_store(settings.store), settings.mlflow, name)]


def export_version(settings: Settings, name: str, output: Path, *, half: bool) -> dict[str, Any]:
    """Write the version that `name@alias` or `name/number` stands for as one file; what was written, as plain data.

    half: weights as float16. Raises NotFoundError for a missing version, InputError for an output of another suffix.
    """
    from lsr.models.file import SUFFIX, ModelFile
    from lsr.registry.load import fetch_named

    if output.suffix != SUFFIX:
        raise InputError(f"A model file ends with {SUFFIX}, found {output.name}.")
    version, package = fetch_named(settings, name)
    file = ModelFile(
        config=package.config, weights=package.weights, card=package.card, lineage=package.lineage
    ).to_bytes(half=half)
    write_whole(output, file)
    return {"model": str(version), "path": str(output), "bytes": len(file), "sha256": sha256_hex(file)}


def import_version(settings: Settings, file: str, name: str) -> dict[str, Any]:
    """Register a model file, or one that ships with LSR, as a version of `name`; one that is there already is kept.

    It has no champion's rights: only the gate promotes. Raises what `load_named` raises for a file, and InputError for
    a name of the registry.
    """
    from lsr.registry.load import model_file
    from lsr.registry.packaging import build_package
    from lsr.registry.runs import owned_run
    from lsr.registry.versions import register

    found = model_file(file)
    if found is None:
        raise InputError(f"Give a model file or the name of a shipped model, found {file!r}.")
    found.load(file)
    uri, model = settings.mlflow, f"{settings.prefix}{name}"
    with (
        tempfile.TemporaryDirectory() as folder,
        owned_run(uri, experiment=EXPERIMENT, key=found.digest, stage="import") as run,
    ):
        package = build_package(
            Path(folder) / "version",
            config=found.config,
            weights=found.weights,
            card=found.card,
            lineage=found.lineage,
        )
        version = register(uri, model, package, run_id=run, tags={"lsr.imported": found.digest})
    return {"name": model, "version": version.number, "digest": version.digest}
