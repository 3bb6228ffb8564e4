"""A context without Ray: stages map and train in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from lsr.engine.context import Context
from lsr.recipes.run import MapRun


class Here(Context):
    """A context that maps in this process, one item after the other."""

    def ray(self) -> Any:
        """Stages open a session before they know that it has nothing to do."""

    def shared_cache(self) -> str:
        """The worker is this process."""
        return str(self.settings.cache)

    def each(
        self, function: Callable[..., Any], items: Sequence[Any], spread: MapRun, name: str, unit: str, **options: Any
    ) -> Generator[tuple[int, Any]]:
        setup = options.get("setup")
        first = (setup(),) if setup else ()
        return ((place, function(*first, item)) for place, item in enumerate(items))
