"""Images among the artifacts of MLflow runs: found by the action that a run worked on, and deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from lsr.core.errors import StoreError
from lsr.registry.connect import connect, explained
from lsr.registry.runs import KEY

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".html", ".zip", ".tar", ".pdf", ".svg")
"""Of artifacts that show or may hold images."""

PARENT = "mlflow.parentRunId"


def images_of(uri: str, keys: Collection[str], run_ids: Collection[str] = ()) -> list[tuple[str, str]]:
    """(run id, path of the artifact) of every image in the runs of the actions `keys`, in those of `run_ids`, in the
    runs that these are shown under, and in what is beside them without an action of its own, as a study's page is.

    Runs that were deleted count too: their artifacts stay where they are.
    """
    client = connect(uri)
    with explained(uri):
        runs = list(_every_run(client))
        mine = [run for run in runs if run.data.tags.get(KEY) in keys or run.info.run_id in run_ids]
        parents = {run.data.tags[PARENT] for run in mine if PARENT in run.data.tags}
        chosen = {run.info.run_id for run in mine} | parents
        chosen |= {r.info.run_id for r in runs if r.data.tags.get(PARENT) in parents and _is_page(r.data.tags)}
        return [(run, path) for run in sorted(chosen) for path in _files(client, run, "") if _shows(path)]


def delete_images(uri: str, found: Collection[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Delete artifacts; (run id, path, reason) of those that could not be."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client, left = connect(uri), []
    for run, path in found:
        try:
            with explained(uri):
                place = client.get_run(run).info.artifact_uri
                get_artifact_repository(place, tracking_uri=uri, registry_uri=uri).delete_artifacts(path)
        except (StoreError, NotImplementedError) as error:
            left.append((run, path, str(error)))
    return left


def _is_page(tags: dict[str, str]) -> bool:
    return tags.get("lsr.stage") == "study"


def _shows(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def _every_run(client: Any) -> Iterator[Any]:
    from mlflow.entities import ViewType

    experiments = [one.experiment_id for one in client.search_experiments(view_type=ViewType.ALL)]
    token: str | None = None
    while True:
        page = client.search_runs(experiments, run_view_type=ViewType.ALL, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _files(client: Any, run: str, folder: str) -> Iterator[str]:
    for one in client.list_artifacts(run, folder or None):
        if one.is_dir:
            yield from _files(client, run, one.path)
        else:
            yield one.path
