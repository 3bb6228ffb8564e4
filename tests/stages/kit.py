"""A context without Ray: stages map and train in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsr.stages.context import Context


class Here(Context):
    """A context that maps in this process, one item after the other."""

    def ray(self) -> Any:
        """Stages open a session before they know that it has nothing to do."""

    def map(self, function: Callable[..., Any], items: list[Any], name: str, unit: str, **options: Any) -> list[Any]:
        setup = options.get("setup")
        first = (setup(),) if setup else ()
        return [function(*first, item) for item in items]
