"""The report page of a run: gathered from the store and the registry, written to a file, kept in MLflow.

A page is drawn again from what is recorded, so nothing of it enters an action key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.sources import Snapshot
from lsr.core.canonical import sha256_hex
from lsr.core.errors import InputError, NotFoundError
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.core.software import commit
from lsr.engine.context import Context
from lsr.recipes.schema import Recipe
from lsr.stages.evaluate import DEGRADED, EXHIBITS, read_evaluation
from lsr.stages.gate import VERDICT
from lsr.stages.register import REFS, licence_of, registered_version
from lsr.store import Store, open_store
from lsr.store.content import get_blob

if TYPE_CHECKING:
    from lsr.evaluation.rows import Evaluation
    from lsr.evaluation.verdict import Verdict
    from lsr.registry.versions import Version
    from lsr.report.page import Facts

NAME = "report.html"
NOT_KNOWN = "not known"
REPORT = "lsr.report"
FIGURES = {
    "samples.png": "Samples, each at every size",
    "before-after.png": "Before and after, by photo and scale",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A page. path: of its file. link: where MLflow shows it. bytes: its size. made: whether MLflow took it now."""

    path: Path
    link: str
    bytes: int
    made: bool

    def as_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "link": self.link, "bytes": self.bytes, "made": self.made}


def publish(recipe: Recipe, refs: dict[str, Ref], ctx: Context) -> Published:
    """Write the page below the output folder and keep it as `report.html` of the MLflow run that made the version.

    A page whose digest the version carries already is not sent again. Raises NotFoundError before registration.
    """
    from lsr.registry.tracking import MlflowTracker, artifact_link
    from lsr.registry.versions import tag_version

    version = registered_version(recipe, refs, ctx)
    if version is None:
        raise NotFoundError(f"Recipe {recipe.name} has no registered version; run `lsr register -r {recipe.name}`.")
    uri = ctx.settings.mlflow
    data = _page(ctx.store, uri, refs, recipe.name, version)
    path = ctx.settings.output / recipe.name / f"{refs['evaluate'].digest[:12]}-{NAME}"
    _write(path, data)
    digest = sha256_hex(data)
    made = version.tags.get(REPORT) != digest
    if made:
        MlflowTracker(uri, version.run_id).text(NAME, data.decode())
        tag_version(uri, version, {REPORT: digest})
    return Published(path=path, link=artifact_link(uri, version.run_id, NAME), bytes=len(data), made=made)


def write_recipe_page(recipe: Recipe, ctx: Context, path: Path) -> dict[str, Any]:
    """Write the page of a recipe's recorded result, registered or not. Raises NotFoundError for what is not made."""
    from lsr.engine.pipeline import finished_inputs

    refs = finished_inputs(recipe, ctx)
    version = registered_version(recipe, refs, ctx)
    return _written(path, _page(ctx.store, ctx.settings.mlflow, refs, recipe.name, version))


def write_version_page(settings: Settings, spec: str, path: Path) -> dict[str, Any]:
    """Write the page of a registered version, `name@alias` or `name/number`, from the results it was made of."""
    from lsr.registry.versions import resolve

    version = resolve(settings.mlflow, spec)
    if REFS not in version.tags:
        raise NotFoundError(f"{version} does not say which results it was made of; register it again with lsr.")
    refs = {name: Ref(**plain) for name, plain in json.loads(version.tags[REFS]).items()}
    return _written(path, _page(open_store(settings.store), settings.mlflow, refs, version.name, version))


def _written(path: Path, data: bytes) -> dict[str, Any]:
    _write(path, data)
    return {"path": str(path), "bytes": len(data), "sha256": sha256_hex(data)}


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"The report cannot be written to {path} ({error.strerror}); name another file.") from error


def _page(store: Store, uri: str, refs: Mapping[str, Ref], name: str, version: Version | None) -> bytes:
    from lsr.report.exhibits import unpack_exhibits
    from lsr.report.page import Content, page

    evaluation, record = read_evaluation(store, refs["evaluate"])
    packed = record.blobs.get(EXHIBITS)
    exhibits = unpack_exhibits(get_blob(store, packed.path), f"{store.uri}/{packed.path}") if packed else []
    wanted = [] if exhibits else [file for file in FIGURES if file in record.blobs]
    verdict = _verdict(store, version)
    who = f"{version.name} version {version.number}" if version else "not registered"
    return page(
        Content(
            title=f"Report: {name}",
            lead=f"{who}, measured on held-out photos" if exhibits else who,
            evaluation=_without_control(evaluation),
            exhibits=exhibits,
            figures={FIGURES[file]: get_blob(store, record.blobs[file].path) for file in wanted},
            verdict=verdict,
            lineage=_lineage(store, uri, refs, name, version),
            notes=_about(verdict, evaluation),
        )
    )


def _without_control(evaluation: Evaluation) -> Evaluation:
    """The rows without the copy that was corrupted on purpose: it proves the gate and is nobody's result."""
    return replace(evaluation, rows=tuple(row for row in evaluation.rows if row.system != DEGRADED))


def _verdict(store: Store, version: Version | None) -> Verdict | None:
    from lsr.registry.promotion import get_verdict

    digest = version.tags.get(VERDICT) if version else None
    return get_verdict(store, digest) if digest else None


def _about(verdict: Verdict | None, evaluation: Evaluation) -> list[str]:
    if verdict is None or verdict.evaluation == evaluation.digest:
        return []
    return [
        f"The gate judged other measurements ({verdict.evaluation[:12]}) than those shown ({evaluation.digest[:12]})."
    ]


def _lineage(store: Store, uri: str, refs: Mapping[str, Ref], name: str, version: Version | None) -> dict[str, Facts]:
    source = Snapshot.load(store, refs["snapshot"].path).uri
    known = _known(uri, version)
    out: dict[str, Facts] = {"Run": [("recipe or model", name), *_of_version(known, version)]}
    out |= {f"Training of {stage}": _of_training(facts) for stage, facts in known.get("trainings", {}).items()}
    out["Inputs, by content digest"] = [(f"{stage} ({ref.kind})", ref.digest) for stage, ref in refs.items()]
    out["Data"] = [("source", source), ("licence", licence_of(source))]
    return out


def _known(uri: str, version: Version | None) -> dict[str, Any]:
    from lsr.registry.versions import read_lineage

    return {} if version is None else read_lineage(uri, version)


def _of_version(known: Mapping[str, Any], version: Version | None) -> list[tuple[str, str]]:
    if version is None:
        return [("model version", "not registered"), ("code that drew this page", commit() or NOT_KNOWN)]
    registration = known.get("registration", {})
    return [
        ("model version", f"{version.name} version {version.number}"),
        ("version digest", version.digest),
        ("recipe digest", str(known.get("config", NOT_KNOWN))),
        ("seed", str(known.get("seed", NOT_KNOWN))),
        *((f"sha256 of {file}", str(digest)) for file, digest in known.get("weights", {}).items()),
        ("code that registered it", registration.get("commit") or NOT_KNOWN),
        ("MLflow run that registered it", registration.get("ids", {}).get("mlflow_run") or version.run_id),
    ]


def _of_training(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    out = [
        ("images seen", f"{training['images_seen']} in {training['steps']} steps of {training['batch']}"),
        *((f"attempt {one['submission']}", _of_attempt(one)) for one in training["attempts"]),
    ]
    return out if training["attempts"] else [*out, ("attempts", "none on record")]


def _of_attempt(one: Mapping[str, Any]) -> str:
    rate = "ended before its last step"
    if one["images_per_second"] is not None:
        rate = f"steps {one['from_step']} to {one['steps']}, {one['images_per_second']:.1f} images/s"
    where = ", ".join(f"{name} {value}" for name, value in one["environment"].items())
    ids = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in one["ids"].items())
    parts = [rate, where, f"commit {one['commit'] or NOT_KNOWN}", f"installed packages {one['packages'][:12]}", ids]
    return "; ".join(part for part in parts if part)
