"""`lsr doctor`: is everything that the settings name here, reachable and of the right version?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import typer

from lsr.cli.common import AsJson, show, table
from lsr.core.errors import LsrError, StoreError
from lsr.core.settings import Settings, load_settings

PACKAGES = ("torch", "ray", "prefect", "mlflow", "webdataset", "boto3", "pillow", "numpy")
CAPS = {"fastapi": (0, 151), "sqlalchemy": (2, 1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the examination."""

    part: str
    ok: bool
    text: str


def _versions(settings: Settings) -> str:
    import importlib.metadata

    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def _caps(settings: Settings) -> str:
    import importlib.metadata

    for name, cap in CAPS.items():
        found = importlib.metadata.version(name)
        if tuple(int(part) for part in found.split(".")[:2]) >= cap:
            limit = ".".join(map(str, cap))
            raise LsrError(f"{name} {found} breaks Prefect's server; install {name}<{limit} (see pyproject.toml).")
    return "fastapi and sqlalchemy are below the releases that break Prefect"


def _store(settings: Settings) -> str:
    import secrets

    from lsr.store import open_store

    store, key = open_store(settings.store), f"doctor/{secrets.token_hex(8)}"
    try:
        if not store.create(key, b"lsr") or store.create(key, b"lsr"):
            raise StoreError(
                f"{settings.store} does not honour conditional writes (If-None-Match); use a store that does."
            )
        if store.read(key) != b"lsr":
            raise StoreError(f"{settings.store} did not return what was written.")
    finally:
        store.delete(key)
    return f"{settings.store} can be written, and honours conditional writes"


def _records(settings: Settings) -> str:
    from lsr.store import open_store
    from lsr.tools.formats import examine_formats

    return examine_formats(open_store(settings.store))


def _mlflow(settings: Settings) -> str:
    from lsr.tools.models import list_runs

    return f"{settings.mlflow} answers, {len(list_runs(settings, 100))} runs"


def _device(settings: Settings) -> str:
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return f"no GPU; {os.cpu_count()} CPU cores"


def _ray(settings: Settings) -> str:
    if settings.ray_jobs is None:
        return "embedded: Ray is started in this process when a stage needs it"
    from lsr.cluster.jobs import server_version

    return f"{settings.ray_jobs} answers, Ray {server_version(settings.ray_jobs)} as here"


CHECKS: dict[str, Callable[[Settings], str]] = {
    "packages": _versions,
    "version caps": _caps,
    "device": _device,
    "store": _store,
    "records": _records,
    "tracking": _mlflow,
    "cluster": _ray,
}


def examine(settings: Settings) -> list[Finding]:
    """Every check's finding; a failed one does not stop the others."""
    findings = []
    for part, check in CHECKS.items():
        try:
            findings.append(Finding(part=part, ok=True, text=check(settings)))
        except (LsrError, ModuleNotFoundError) as error:
            findings.append(Finding(part=part, ok=False, text=str(error)))
    return findings


def doctor(json_: AsJson = False) -> None:
    """Examine the surroundings: packages, device, store, tracking, cluster."""
    findings = examine(load_settings())
    if json_:
        show([{"part": f.part, "ok": f.ok, "text": f.text} for f in findings])
    else:
        table("Doctor", ["part", "", "finding"], [[f.part, "ok" if f.ok else "FAIL", f.text] for f in findings])
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(rich_help_panel="Inspection")(doctor)
