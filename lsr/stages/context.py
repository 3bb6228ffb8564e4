"""What a running stage is given: the store, the settings, how to spread work, where to report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from lsr.core.progress import Progress, Quiet
from lsr.core.settings import Settings
from lsr.recipes.schema import ComputeConfig
from lsr.store import Store, open_store


@dataclass(kw_only=True)
class Context:
    """One process's view of the surroundings; everything heavy is opened on first use and closed with it."""

    settings: Settings
    store: Store
    compute: ComputeConfig
    progress: Progress = field(default_factory=Quiet)
    provenance: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _ray: bool = False

    def ray(self) -> None:
        """Make Ray available: attach where this process already runs inside a cluster, else start it here once."""
        if self._ray:
            return
        from lsr.cluster.session import ray_session

        self._stack.enter_context(ray_session(home=self.settings.home))
        self._ray = True

    def map(self, function: Callable[..., Any], items: list[Any], name: str, unit: str, **options: Any) -> list[Any]:
        """`function` over `items` through Ray, in the order of `items`, with progress."""
        from lsr.cluster.shards import map_shards

        self.ray()
        results: list[Any] = [None] * len(items)
        with self.progress.task(name, len(items), unit) as task:
            for index, result in map_shards(function, items, tasks=self.compute.tasks, **options):
                results[index] = result
                task.advance()
        return results


@contextmanager
def open_context(
    settings: Settings,
    compute: ComputeConfig,
    *,
    progress: Progress | None = None,
    provenance: dict[str, str] | None = None,
) -> Iterator[Context]:
    """A Context whose Ray session, if one was started, ends with the block."""
    with ExitStack() as stack:
        yield Context(
            settings=settings,
            store=open_store(settings.store),
            compute=compute,
            progress=progress or Quiet(),
            provenance=provenance or {},
            _stack=stack,
        )
