"""What there is in the registry, for people: recent runs and model names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lsr.registry.connect import connect, explained
from lsr.registry.runs import KEY


def recent_runs(uri: str, limit: int) -> list[dict[str, Any]]:
    """The newest runs: stage, status, started (UTC), seconds, run_id, action key (12 hex digits)."""
    client = connect(uri)
    with explained(uri):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, max_results=limit, order_by=["attributes.start_time DESC"])
    return [_row(run) for run in runs]


def _row(run: Any) -> dict[str, Any]:
    started, ended = run.info.start_time, run.info.end_time
    return {
        "stage": run.info.run_name or "",
        "status": run.info.status,
        "started": datetime.fromtimestamp(started / 1000, UTC).isoformat(timespec="seconds"),
        "seconds": round((ended - started) / 1000, 1) if ended else None,
        "run_id": run.info.run_id,
        "action": run.data.tags.get(KEY, "")[:12],
    }


def model_names(uri: str) -> list[str]:
    """Names of all registered models, sorted."""
    client = connect(uri)
    with explained(uri):
        return sorted(model.name for model in client.search_registered_models())
