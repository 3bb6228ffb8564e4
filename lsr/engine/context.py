"""What a running stage is given: the store, the settings, how to spread work, where to report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lsr.core.canonical import sha256_hex
from lsr.core.progress import Progress, Quiet
from lsr.core.settings import Settings
from lsr.recipes.run import MapRun, Run
from lsr.store import Store, open_store

if TYPE_CHECKING:
    from lsr.cluster.session import Session
    from lsr.registry.tracking import MlflowTracker

EXPERIMENT = "lsr"
# How a Ray job learns under which pipeline its MLflow runs belong, and their tags.
PIPELINE_NAME, PROVENANCE = "LSR_PIPELINE", "LSR_PROVENANCE"


@dataclass(kw_only=True)
class Context:
    """One process's view of the surroundings; everything heavy is opened on first use and closed with it.

    run: how work is spread. pipeline: name under which the MLflow runs of one recipe are gathered. provenance: tags of
    every run, such as the Prefect flow run's id. notes: sentences on how results came about, by action key.
    """

    settings: Settings
    store: Store
    run: Run
    pipeline: str = "stages"
    progress: Progress = field(default_factory=Quiet)
    provenance: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _session: Session | None = None
    _parent: str | None = None

    def ray(self) -> Session:
        """Ray: attached where this process already runs inside a cluster, else started here once."""
        if self._session is None:
            from lsr.cluster.session import ray_session

            self._session = self._stack.enter_context(ray_session(self.settings.home))
        return self._session

    def shared_cache(self) -> str | None:
        """The cache folder for workers, as `cache_of_worker` reads it: workers of a cluster have their own."""
        return str(self.settings.cache) if self.ray().local else None

    @property
    def ray_storage(self) -> str:
        """Where Ray Train keeps its own small state: a folder here, the store's bucket on a cluster."""
        return (
            str(self.settings.home / "ray-train") if self.store.uri.startswith("file://") else f"{self.store.uri}/ray"
        )

    def each(
        self, function: Callable[..., Any], items: Sequence[Any], spread: MapRun, name: str, unit: str, **options: Any
    ) -> Generator[tuple[int, Any]]:
        """(place, result) of `function` over `items` through Ray as `spread` says, as they are done, with progress.
        Whoever may not take them all closes it, which cancels the rest.
        """
        from lsr.cluster.shards import map_shards

        self.ray()
        with self.progress.task(name, len(items), unit) as task:
            limits: dict[str, Any] = {"worker": spread.worker, "start_within": self.run.start_within}
            for done in map_shards(function, items, tasks=spread.tasks, **limits, **options):
                yield done
                task.advance()

    def map(
        self, function: Callable[..., Any], items: Sequence[Any], spread: MapRun, name: str, unit: str, **options: Any
    ) -> list[Any]:
        """The results of `each` in the order of `items`."""
        results: list[Any] = [None] * len(items)
        for index, result in self.each(function, items, spread, name, unit, **options):
            results[index] = result
        return results

    def job_environment(self) -> dict[str, str]:
        """Variables of a Ray job: addresses, and for whom it works. Secrets are those of the cluster's processes."""
        return {
            "MLFLOW_TRACKING_URI": self.settings.mlflow,
            "LSR_MODEL_PREFIX": self.settings.prefix,
            PIPELINE_NAME: self.pipeline,
            PROVENANCE: json.dumps(self.provenance),
        }

    def say(self, key: str, sentence: str) -> None:
        """A sentence on how the result of action `key` comes about, for its outcome and for whoever watches."""
        if not sentence:
            return
        self.notes[key] = f"{self.notes[key]} {sentence}" if key in self.notes else sentence
        if not isinstance(self.progress, Quiet):
            print(sentence, file=sys.stderr, flush=True)

    def job_log(self, text: str) -> None:
        """Pass on what a Ray job prints."""
        print(text, end="", file=sys.stderr, flush=True)

    @contextmanager
    def tracked(self, stage: str, key: str) -> Iterator[str]:
        """The MLflow run of action `key`, below the pipeline's; FINISHED, FAILED or KILLED when the block ends."""
        from lsr.registry.runs import close_orphans, owned_run

        if self._parent is None:
            close_orphans(self.settings.mlflow)
            self._parent = self._stack.enter_context(
                owned_run(
                    self.settings.mlflow,
                    experiment=EXPERIMENT,
                    key=sha256_hex(f"pipeline:{self.pipeline}".encode()),
                    stage=self.pipeline,
                    tags=self.provenance,
                )
            )
        with owned_run(
            self.settings.mlflow,
            experiment=EXPERIMENT,
            key=key,
            stage=stage,
            parent=self._parent,
            tags=self.provenance,
        ) as run_id:
            yield run_id

    def tracker(self, run: str) -> MlflowTracker:
        """What reports to the MLflow run that `run` opened."""
        from lsr.registry.tracking import MlflowTracker

        return MlflowTracker(self.settings.mlflow, run)


@contextmanager
def open_context(
    settings: Settings,
    run: Run,
    *,
    pipeline: str = "stages",
    progress: Progress | None = None,
    provenance: dict[str, str] | None = None,
) -> Iterator[Context]:
    """A Context whose Ray session and MLflow run, if they were opened, end with the block."""
    with ExitStack() as stack:
        yield Context(
            settings=settings,
            store=open_store(settings.store),
            run=run,
            pipeline=pipeline,
            progress=progress or Quiet(),
            provenance=provenance or {},
            _stack=stack,
        )
