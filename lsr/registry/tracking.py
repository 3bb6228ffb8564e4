"""`MlflowTracker`: lsr.training's Tracker on one MLflow run, by explicit run id and without the fluent API.

It can be pickled and built in a Ray worker: the client opens on first use. Nothing is logged twice after a resume, and
a server that is away for a while loses no metric.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.core.errors import StoreError
from lsr.core.refs import Ref
from lsr.registry.connect import connect, explained, safe
from lsr.registry.runs import set_tags

LOG = logging.getLogger(__name__)
LONGEST_PARAM = 6000
LONGEST_DIGEST = 36
PARAMS_A_CALL = 100
METRICS_A_CALL = 1000
MOST_PENDING = 100_000


class MlflowTracker:
    """Implements lsr.training's Tracker. uri: of MLflow. run_id: of a run that its owner opened.

    A metric is kept for a step only once: steps at or before the last one that the run holds for that name are
    skipped, so that a resumed run that repeats steps repeats no point. Metrics that cannot be sent are kept and sent
    with the next; `close` raises StoreError when some are left.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri, self.run_id = uri, run_id
        self._client: Any = None
        self._last: dict[str, int] = {}
        self._pending: list[tuple[str, float, int, int]] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "run_id": self.run_id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def last_step(self) -> int:
        """The last step that the run holds a metric for, 0 if there is none."""
        self._open()
        return max(self._last.values(), default=0)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log `values` at `step`, each name at most once a step, whatever was logged before this process started."""
        self._later(step, values)
        try:
            self._open()
            self._send()
        except StoreError as error:
            LOG.warning("%d metric values wait for MLflow: %s", len(self._pending), error)

    def image(self, name: str, step: int, array: npt.NDArray[np.uint8]) -> None:
        """Keep an image [H, W, 3] uint8 as `images/<name>-<step>.png`; the same step again replaces it."""
        client = self._open()
        with explained(self.uri):
            client.log_image(self.run_id, array, artifact_file=f"images/{name}-{step:08d}.png")

    def params(self, values: Mapping[str, Any]) -> None:
        """Log nested plain data as dotted params. A value over 6000 characters becomes an artifact; a value that
        differs from the first start's (params cannot change) becomes the tag `lsr.param.<name>`.
        """
        from mlflow.entities import Param

        client = self._open()
        flat = _flatten(values)
        with explained(self.uri):
            known = client.get_run(self.run_id).data.params
            for name, text in flat.items():
                if len(text) > LONGEST_PARAM:
                    client.log_text(self.run_id, text, f"params/{name}.txt")
                    flat[name] = f"see artifact params/{name}.txt"
            changed = {f"lsr.param.{n}": v for n, v in flat.items() if n in known and known[n] != v}
            if changed:
                set_tags(client, self.run_id, {name: value[:5000] for name, value in changed.items()})
            fresh = [Param(name, value) for name, value in flat.items() if name not in known]
            for start in range(0, len(fresh), PARAMS_A_CALL):
                client.log_batch(self.run_id, params=fresh[start : start + PARAMS_A_CALL])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Upload a file. folder: within the run's artifacts."""
        client = self._open()
        with explained(self.uri):
            client.log_artifact(self.run_id, str(path), folder)

    def text(self, name: str, text: str) -> None:
        """Keep a text as the artifact `name`."""
        client = self._open()
        with explained(self.uri):
            client.log_text(self.run_id, text, name)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set the run's tags."""
        client = self._open()
        with explained(self.uri):
            set_tags(client, self.run_id, values)

    def inputs(self, refs: Mapping[str, Ref], store: str, context: str = "training") -> None:
        """Record what the run was made from: each reference as a dataset with its store address and digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        client = self._open()
        datasets = [
            DatasetInput(
                Dataset(
                    name=name,
                    # MLflow's limit; the source carries the whole digest in the manifest's file name.
                    digest=ref.digest[:LONGEST_DIGEST],
                    source_type=f"lsr-{ref.kind}",
                    source=f'{{"uri": "{store}/{ref.path}"}}',
                ),
                [InputTag("mlflow.data.context", context)],
            )
            for name, ref in sorted(refs.items())
        ]
        with explained(self.uri):
            client.log_inputs(self.run_id, datasets)

    def close(self) -> None:
        """Send what is pending. Raises StoreError when MLflow still cannot take it. The run stays open: its owner
        closes it."""
        if self._pending:
            self._open()
            self._send()

    def _open(self) -> Any:
        if self._client is None:
            client = connect(self.uri)
            with explained(self.uri, f"There is no MLflow run {self.run_id}; it may have been deleted."):
                names = client.get_run(self.run_id).data.metrics
                self._last = {n: max(m.step for m in client.get_metric_history(self.run_id, n)) for n in names}
            self._client = client
        return self._client

    def _later(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._pending += [(name, float(value), now, step) for name, value in values.items()]
        del self._pending[:-MOST_PENDING]

    def _send(self) -> None:
        from mlflow.entities import Metric

        while self._pending:
            part = self._pending[:METRICS_A_CALL]
            fresh = self._fresh(part)
            if fresh:
                with explained(self.uri):
                    self._client.log_batch(self.run_id, metrics=[Metric(*item) for item in fresh])
            for name, _, _, step in fresh:
                self._last[name] = max(step, self._last.get(name, -1))
            del self._pending[: len(part)]

    def _fresh(self, items: list[tuple[str, float, int, int]]) -> list[tuple[str, float, int, int]]:
        seen: set[tuple[str, int]] = set()
        out = []
        for item in items:
            name, step = item[0], item[3]
            if step > self._last.get(name, -1) and (name, step) not in seen:
                seen.add((name, step))
                out.append(item)
        return out


def artifact_link(uri: str, run_id: str, name: str) -> str:
    """Where a person opens the artifact `name` of a run: MLflow's own page of it on a server, else its address."""
    client = connect(uri)
    with explained(uri, f"There is no MLflow run {run_id}; it may have been deleted."):
        info = client.get_run(run_id).info
    if uri.startswith("http"):
        return f"{safe(uri).rstrip('/')}/#/experiments/{info.experiment_id}/runs/{run_id}/artifacts/{name}"
    return f"{info.artifact_uri.rstrip('/')}/{name}"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out |= _flatten(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = str(value)
    return out
