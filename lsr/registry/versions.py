"""Model versions in MLflow's registry: register once, resolve once, fetch and check.

An alias is turned into a number and a digest once, at the start of a job; everything after speaks of the number.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsr.core.canonical import sha256_hex
from lsr.core.errors import ConfigError, ConflictError, IntegrityError, NotFoundError
from lsr.registry.connect import already_exists, connect, explained
from lsr.registry.packaging import FILES as LISTING
from lsr.registry.packaging import LINEAGE, Package, open_package

DIGEST, FILES = "lsr.digest", "lsr.files"
_SPEC = re.compile(r"(?P<name>[^@/]+)(?:@(?P<alias>[a-z0-9._-]+)|/(?P<number>[0-9]+))")


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One registered version. digest, files: as in `Package`. run_id: the MLflow run that made it. tags: all of it."""

    name: str
    number: int
    digest: str
    files: str
    run_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}/{self.number}"


def register(uri: str, name: str, package: Package, *, run_id: str, tags: Mapping[str, str] | None = None) -> Version:
    """Upload and register a package made by run `run_id`. A digest that is registered already gives its version back,
    also when two processes register it at once.
    """
    client = connect(uri)
    with explained(uri):
        found = _with_digest(client, name, package.digest)
        if not found:
            _make_model(client, name)
            made = _upload(client, name, package, run_id, dict(tags or {}))
            found = _with_digest(client, name, package.digest)
            if found[0].number != made:
                # Another process registered the same content first; its number stands.
                client.delete_model_version(name, str(made))
        return found[0]


def list_versions(uri: str, name: str) -> list[Version]:
    """Every version of a model by number; empty when there is no such model."""
    client = connect(uri)
    with explained(uri):
        return _versions(client, name)


def every_version(uri: str) -> list[Version]:
    """Every version of every model, by name and number; those that lsr did not register are excluded."""
    client = connect(uri)
    with explained(uri):
        names = sorted(model.name for model in _models(client, None) if "'" not in model.name)
        found = [_entities(client, name) for name in names]
    ours = (version for versions in found for version in versions if {DIGEST, FILES} <= dict(version.tags).keys())
    return sorted(map(_version, ours), key=lambda version: (version.name, version.number))


def get_version(uri: str, name: str, number: int) -> Version:
    """One version. Raises NotFoundError listing the versions there are."""
    for version in list_versions(uri, name):
        if version.number == number:
            return version
    raise NotFoundError(f"There is no version {number} of model {name}; {what_there_is(uri, name)}")


def aliases_of(uri: str, name: str) -> dict[str, int]:
    """Version number by alias, empty when there is no such model."""
    client = connect(uri)
    with explained(uri):
        found = [model for model in _models(client, f"name = '{_plain(name)}'") if model.name == name]
        # A listing carries no aliases on every backend; asking for the one model does.
        return {a: int(v) for a, v in client.get_registered_model(name).aliases.items()} if found else {}


def resolve(uri: str, spec: str) -> Version:
    """The version that `name@alias` or `name/number` names now. Raises ConfigError for another form, NotFoundError
    with what there is."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ConfigError(f"A model is named name@alias or name/number (alias in lower case), found {spec!r}.")
    name, alias, number = match["name"], match["alias"], match["number"]
    if number:
        return get_version(uri, name, int(number))
    known = aliases_of(uri, name)
    if alias not in known:
        raise NotFoundError(f"Model {name} has no alias {alias!r}; {what_there_is(uri, name)}")
    return get_version(uri, name, known[alias])


def fetch_version(uri: str, version: Version, cache: Path) -> Package:
    """The version's folder below `cache`, downloaded if it is not there, every file checked against the registry's
    digests. Raises IntegrityError for a changed file, also in the cache.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    target = cache / f"{version.digest}-{version.files[:12]}"
    if not target.is_dir():
        client = connect(uri)
        cache.mkdir(parents=True, exist_ok=True)
        temp = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
        try:
            with explained(uri, f"The files of {version} are gone from MLflow's artifact store; register it again."):
                source = client.get_model_version_download_uri(version.name, str(version.number))
                get_artifact_repository(source, tracking_uri=uri, registry_uri=uri).download_artifacts("", str(temp))
            open_package(temp, digest=version.digest, files=version.files, where=f"The download of {version}")
            _move_in(temp, target)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    return open_package(target, digest=version.digest, files=version.files, where=f"{version} in the cache {target}")


def read_lineage(uri: str, version: Version) -> dict[str, Any]:
    """The version's lineage record as plain data, without its weights. Raises IntegrityError for a changed one."""
    client = connect(uri)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tempfile.TemporaryDirectory() as folder:
        with explained(uri, f"The files of {version} are gone from MLflow's artifact store; register it again."):
            source = client.get_model_version_download_uri(version.name, str(version.number))
            repository = get_artifact_repository(source, tracking_uri=uri, registry_uri=uri)
            for name in (LISTING, LINEAGE):
                repository.download_artifacts(name, folder)
        listing, lineage = (Path(folder, name).read_bytes() for name in (LISTING, LINEAGE))
    if sha256_hex(listing) != version.files or json.loads(listing)["sha256"].get(LINEAGE) != sha256_hex(lineage):
        raise IntegrityError(f"{LINEAGE} of {version} was changed after registration; register it again.")
    record: dict[str, Any] = json.loads(lineage)
    return record


def tag_version(uri: str, version: Version, tags: Mapping[str, str]) -> None:
    """Add tags (a verdict's digest, say). Raises ConflictError for the tags that carry the version's identity."""
    if {DIGEST, FILES} & tags.keys():
        raise ConflictError(f"The tags {DIGEST} and {FILES} of {version} are its identity and never change.")
    client = connect(uri)
    with explained(uri):
        for key, value in tags.items():
            client.set_model_version_tag(version.name, str(version.number), key, value)


def what_there_is(uri: str, name: str) -> str:
    """A clause for an error: the model's versions and aliases, or the models there are."""
    versions = list_versions(uri, name)
    if versions:
        aliases = ", ".join(f"{a} -> {v}" for a, v in sorted(aliases_of(uri, name).items())) or "none"
        return f"it has versions {', '.join(str(v.number) for v in versions)} and aliases {aliases}."
    client = connect(uri)
    with explained(uri):
        names = sorted(model.name for model in _models(client, None))
    return f"the registered models are {', '.join(names)}." if names else "no model is registered yet."


def _plain(name: str) -> str:
    if "'" in name or not name.strip():
        raise ConfigError(f"A model's name must not be empty or hold a quote, found {name!r}.")
    return name


def _models(client: Any, query: str | None) -> list[Any]:
    return _pages(lambda token: client.search_registered_models(filter_string=query, page_token=token))


def _entities(client: Any, name: str) -> list[Any]:
    query = f"name = '{_plain(name)}'"
    found = _pages(lambda token: client.search_model_versions(query, page_token=token))
    return [version for version in found if version.name == name]


def _versions(client: Any, name: str) -> list[Version]:
    return sorted(map(_version, _entities(client, name)), key=lambda version: version.number)


def _version(entity: Any) -> Version:
    tags = dict(entity.tags)
    if not {DIGEST, FILES} <= tags.keys():
        raise IntegrityError(
            f"Version {entity.version} of model {entity.name} lacks the tags {DIGEST} and {FILES}: it was not "
            "registered by lsr. Delete it or use another model name."
        )
    return Version(
        name=entity.name,
        number=int(entity.version),
        digest=tags[DIGEST],
        files=tags[FILES],
        run_id=entity.run_id or "",
        tags=tags,
    )


def _with_digest(client: Any, name: str, digest: str) -> list[Version]:
    return [version for version in _versions(client, name) if version.digest == digest]


def _pages(ask: Any) -> list[Any]:
    out: list[Any] = []
    token: str | None = None
    while True:
        page = ask(token)
        out += page
        token = page.token
        if not token:
            return out


def _make_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(_plain(name))
    except MlflowException as error:
        if not already_exists(error):
            raise


def _upload(client: Any, name: str, package: Package, run_id: str, tags: dict[str, str]) -> int:
    """Upload the folder as a logged model of the run, then make the version that points to it; its number."""
    experiment = client.get_run(run_id).info.experiment_id
    marks = {**tags, DIGEST: package.digest, FILES: package.files}
    model = client.create_logged_model(experiment, name=name, source_run_id=run_id, tags=marks)
    client.log_model_artifacts(model.model_id, str(package.path))
    client.finalize_logged_model(model.model_id, "READY")
    # The artifact's own address as the source: `models:/<id>` would be looked up at MLflow's global tracking URI.
    made = client.create_model_version(
        name, source=model.artifact_location, run_id=run_id, model_id=model.model_id, tags=marks
    )
    return int(made.version)


def _move_in(temp: Path, target: Path) -> None:
    try:
        temp.rename(target)
    except OSError:
        # Another process fetched it at the same time; the caller checks the winner's files.
        if not target.is_dir():
            raise
