"""A function over many items, a bounded number at a time: in this process, or in a pool of Ray actors."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from lsr.cluster.capacity import Patience, holds, reject_unless_held
from lsr.cluster.faults import WorkerError, fault_of, rebuild
from lsr.cluster.interrupts import sigterm_heard
from lsr.cluster.session import current
from lsr.core.errors import ConfigError, LsrError, RunFailedError
from lsr.core.resources import Resources

# How long the cancelled rest is waited for, so that nothing still writes when the caller hears of the failure.
_CANCEL_SECONDS = 15.0
_LABEL_CHARS = 120
_POLL_SECONDS = 10.0
_SLICE_SECONDS = 1.0
_START_DEATHS = 3

Setup = Callable[[], Any]


def map_shards(
    fn: Callable[..., Any],
    items: Sequence[Any],
    *,
    tasks: int,
    worker: Resources | None = None,
    start_within: float = 900.0,
    setup: Setup | None = None,
    retries: int = 2,
    label: Callable[[Any], str] = repr,
) -> Iterator[tuple[int, Any]]:
    """Yield (index, fn(item)) in the order of completion; with `setup`, (index, fn(state, item)).

    tasks: at most so many run at a time, fewer where the nodes cannot hold them; 0 runs them here, one after the other,
    without Ray. worker: what each reserves, one CPU by default. start_within: seconds for which none may be able to
    start. setup: makes the state of one process, once (a model on its device). Items and results travel through Ray
    and should be small: names and records, not pixels. At most `tasks` results wait unread. retries: how often an item
    is done again after its *process* died; fn must bear being run twice.

    An exception of fn ends the map: the rest is cancelled and the error raised names the item by `label`, with the type
    of the worker's error if typed, else RunFailedError. Closing the iterator early cancels as well.
    Raises ConfigError where no Ray session is open (unless tasks is 0) or a local one can never hold one worker,
    RunFailedError where a cluster did not within `start_within`.
    """
    if tasks < 0:
        raise ConfigError(f"tasks must be 0 (this process) or the number to run at a time, found {tasks}.")
    if tasks == 0:
        return _here(fn, items, setup, label)
    session = current()
    if session is None:
        raise ConfigError("map_shards with tasks > 0 needs Ray: open lsr.cluster.session.ray_session around it.")
    needs = worker or Resources()
    reject_unless_held(session, needs, 1, "A map over shards")
    return _spread(_Pool(_actors(fn, setup, needs), needs, tasks, start_within), items, retries, label)


def _here(
    fn: Callable[..., Any], items: Sequence[Any], setup: Setup | None, label: Callable[[Any], str]
) -> Iterator[tuple[int, Any]]:
    call = _caller(fn, setup)
    for index, item in enumerate(items):
        try:
            result = call(item)
        except Exception as error:
            raise _named(error, index, item, label) from error
        yield index, result


def _caller(fn: Callable[..., Any], setup: Setup | None) -> Callable[[Any], Any]:
    """fn as a function of the item alone; the state, if any, is made now."""
    if setup is None:
        return fn
    state = setup()
    return lambda item: fn(state, item)


def _actors(fn: Callable[..., Any], setup: Setup | None, worker: Resources) -> Any:
    """The class of Ray actors that hold the state and do one item at a time."""
    import ray

    class Holder:
        def __init__(self) -> None:
            # An exception here would reach the caller as an actor that died, without its sentence.
            self.call, self.fault = None, None
            try:
                self.call = _caller(fn, setup)
            except Exception as error:
                self.fault = fault_of(error)

        def ready(self) -> None:
            if self.fault is not None:
                raise self.fault

        def work(self, item: Any) -> Any:
            return _translated(self.call, item)

    # An actor that died is replaced by the pool, which counts the deaths of each item.
    options = {"num_cpus": worker.cpus, "num_gpus": worker.gpus, "max_restarts": 0, "max_task_retries": 0}
    memory = worker.as_ray().get("memory")
    return ray.remote(**options, **({"memory": int(memory)} if memory else {}))(Holder)


class _Pool:
    """Actors that start, are idle or work. An item is given to none that has not answered: one for which there is no
    room would hold it for ever.
    """

    def __init__(self, kind: Any, worker: Resources, most: int, start_within: float) -> None:
        self._kind, self._worker, self._most = kind, worker, most
        self._patience = Patience(worker, 1, "A map over shards", start_within)
        self._polled = -_POLL_SECONDS
        self._all: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self.idle: deque[Any] = deque()
        self.busy: dict[Any, tuple[int, Any]] = {}
        self._start_deaths = 0

    def grow(self, items: int) -> None:
        """Start what is missing for so many items, as far as the nodes hold it: they may have become more."""
        if time.monotonic() - self._polled >= _POLL_SECONDS:
            self._polled = time.monotonic()
            # Where nothing fits, one is asked for: a cluster that grows on demand sees the demand.
            self._room = max(holds(self._worker), 1)
        while len(self._all) < min(self._most, self._room, items):
            actor = self._kind.remote()
            self._all.append(actor)
            self._starting[actor.ready.remote()] = actor

    def give(self, index: int, item: Any) -> None:
        """Let an idle actor do the item."""
        actor = self.idle.popleft()
        self.busy[actor.work.remote(item)] = (index, actor)

    def ended(self, more: bool) -> Any | None:
        """The reference of an item that is done or failed; None to ask again. more: whether items wait for an actor.

        Raises what the state's making raised, RunFailedError where no actor could start in time.
        """
        import ray

        if self.busy or self.idle:
            self._patience.begin()
        waited_for = [*self.busy, *(self._starting if more else ())]
        with sigterm_heard():
            found, _ = ray.wait(waited_for, num_returns=1, timeout=_SLICE_SECONDS)
        if not found:
            self._patience.check()
            return None
        if found[0] in self.busy:
            return found[0]
        self._answered(found[0])
        return None

    def lost(self, actor: Any) -> None:
        """Forget an actor that died, so that another takes its place."""
        self._all.remove(actor)

    def stop(self) -> None:
        """End every actor and wait for what it was doing."""
        import ray

        for actor in self._all:
            with suppress(Exception):
                ray.kill(actor)
        if self.busy:
            ray.wait(list(self.busy), num_returns=len(self.busy), timeout=_CANCEL_SECONDS, fetch_local=False)

    def _answered(self, ref: Any) -> None:
        import ray
        from ray.exceptions import RayActorError

        actor = self._starting.pop(ref)
        try:
            ray.get(ref)
        except RayActorError as error:
            self.lost(actor)
            self._start_deaths += 1
            if self._start_deaths > _START_DEATHS:
                raise _cause(error) from error
        except Exception as error:
            raise rebuild(fault_of(_cause(error)), "A worker could not be set up: ") from error
        else:
            self.idle.append(actor)


def _spread(pool: _Pool, items: Sequence[Any], retries: int, label: Callable[[Any], str]) -> Iterator[tuple[int, Any]]:
    import ray
    from ray.exceptions import RayActorError

    waiting = deque(range(len(items)))
    deaths: Counter[int] = Counter()
    try:
        while waiting or pool.busy:
            pool.grow(len(waiting) + len(pool.busy))
            while waiting and pool.idle:
                index = waiting.popleft()
                pool.give(index, items[index])
            ref = pool.ended(more=bool(waiting))
            if ref is None:
                continue
            index, actor = pool.busy.pop(ref)
            try:
                result = ray.get(ref)
            except RayActorError as error:
                pool.lost(actor)
                deaths[index] += 1
                if deaths[index] > retries:
                    raise _named(_cause(error), index, items[index], label) from error
                waiting.appendleft(index)
                continue
            except Exception as error:
                raise _named(_cause(error), index, items[index], label) from error
            pool.idle.append(actor)
            yield index, result
    finally:
        pool.stop()


def _translated(call: Callable[[Any], Any] | None, item: Any) -> Any:
    assert call is not None
    try:
        return call(item)
    except Exception as error:
        raise fault_of(error) from error


def _cause(error: Exception) -> Exception:
    """The worker's own exception inside what Ray raised; a process that died says so in one line."""
    from ray.exceptions import RayActorError, RayTaskError

    if isinstance(error, RayTaskError) and isinstance(error.cause, WorkerError):
        return error.cause
    if isinstance(error, RayActorError):
        return RunFailedError("its worker process died again and again (killed, or out of memory).")
    return error


def _named(error: Exception, index: int, item: Any, label: Callable[[Any], str]) -> LsrError:
    text = label(item)
    text = text if len(text) <= _LABEL_CHARS else f"{text[:_LABEL_CHARS]}..."
    fault = fault_of(error)
    raised = rebuild(fault, "")
    return type(raised)(f"Item {index} ({text}): {raised}")
