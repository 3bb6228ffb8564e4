"""What the nodes of Ray can hold, and waiting for it: with a limit and a sentence, where Ray would wait for ever."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Any

from lsr.cluster.session import Session
from lsr.core.errors import ConfigError, RunFailedError
from lsr.core.resources import Resources

log = logging.getLogger(__name__)

SAY_AFTER_SECONDS = 10.0
_SLICE_SECONDS = 1.0
_UNLIMITED = 1 << 20


def holds(worker: Resources) -> int:
    """How many processes with these needs fit on the living nodes, were nothing else running there."""
    import ray

    asked = worker.as_ray()
    if not asked:
        return _UNLIMITED
    have = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    # Ray counts in ten-thousandths, so that ten tenths are one.
    return sum(min(int(node.get(kind, 0.0) / amount + 1e-6) for kind, amount in asked.items()) for node in have)


def reject_unless_held(session: Session, worker: Resources, count: int, what: str) -> None:
    """ConfigError if the Ray that this process started can never hold `count` such processes at once.

    A cluster may grow, so it is not asked.
    """
    if session.local and holds(worker) < count:
        times = f"{count} times {worker}" if count > 1 else str(worker)
        raise ConfigError(
            f"{what} asks for {times} at once; Ray on this machine has {_all()}. Ask for fewer workers or less for "
            "each in the run (--run, --set-run), or submit to a larger cluster."
        )


class Patience:
    """A wait for resources: says once what it waits for, and ends with RunFailedError after `within` seconds."""

    def __init__(self, worker: Resources, count: int, what: str, within: float) -> None:
        self._what, self._within = what, within
        self._asked = f"{count} times {worker}" if count > 1 else str(worker)
        self._said = False
        self.begin()

    def begin(self) -> None:
        """Count from now."""
        self._since = time.monotonic()

    def check(self) -> None:
        """Raise RunFailedError if the time is over."""
        waited = time.monotonic() - self._since
        if waited > self._within:
            raise RunFailedError(
                f"{self._what} waited {self._within:g} s for {self._asked}, which Ray did not grant: its nodes have "
                f"{_all()}, free are {_free()}. Ask for less in the run, add nodes, or raise start_within."
            )
        if waited > SAY_AFTER_SECONDS and not self._said:
            self._said = True
            log.warning(
                "%s waits for %s and for processes to start; the nodes of Ray have %s, free are %s.",
                self._what,
                self._asked,
                _all(),
                _free(),
            )


def wait_for_room(session: Session, worker: Resources, count: int, *, within: float, what: str) -> None:
    """Return once `count` such processes can start at the same time; they are then free, not reserved.

    Raises ConfigError as `reject_unless_held`, RunFailedError after `within` seconds.
    """
    reject_unless_held(session, worker, count, what)
    asked = worker.as_ray()
    if not asked:
        return
    from ray.util.placement_group import placement_group, remove_placement_group

    patience = Patience(worker, count, what, within)
    # Ray's own reservation, not a check of what is free: a cluster that grows on demand sees it as demand.
    group = placement_group([asked] * count)
    try:
        # In slices, because an interrupt is not heard during the call.
        while not group.wait(_SLICE_SECONDS):
            patience.check()
    finally:
        remove_placement_group(group)


def _all() -> str:
    import ray

    return _listed(ray.cluster_resources())


def _free() -> str:
    import ray

    with suppress(Exception):
        return _listed(ray.available_resources())
    return "unknown"


def _listed(amounts: Any) -> str:
    memory = amounts.get("memory", 0.0) / 2**30
    return f"{amounts.get('CPU', 0.0):g} CPU, {amounts.get('GPU', 0.0):g} GPU and {memory:.1f} GiB of memory"
