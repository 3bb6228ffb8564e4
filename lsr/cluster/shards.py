"""A function over many items, a bounded number at a time: in this process, as Ray tasks, or in a pool of Ray actors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from lsr.cluster.faults import WorkerError, fault_of, rebuild
from lsr.cluster.session import current, require
from lsr.core.errors import ConfigError, LsrError, RunFailedError

# How long the cancelled rest is waited for, so that nothing still writes when the caller hears of the failure.
_CANCEL_SECONDS = 15.0
_LABEL_CHARS = 120

Setup = Callable[[], Any]


def map_shards(
    fn: Callable[..., Any],
    items: Sequence[Any],
    *,
    tasks: int,
    cpus: float = 1.0,
    gpus: float = 0.0,
    setup: Setup | None = None,
    retries: int = 2,
    label: Callable[[Any], str] = repr,
) -> Iterator[tuple[int, Any]]:
    """Yield (index, fn(item)) in the order of completion; with `setup`, (index, fn(state, item)).

    tasks: how many run at a time; 0 runs them here, one after the other, without Ray. Each reserves `cpus` and `gpus`.
    setup: makes the state of one actor, once (a model on its device); the pool then has `tasks` actors. Items and
    results travel through Ray and should be small: names and records, not pixels. At most `tasks` results wait unread.
    retries: how often an item is done again after its *process* died; fn must bear being run twice.

    An exception of fn ends the map: the rest is cancelled and the error raised names the item by `label`, with the type
    of the worker's error if typed, else RunFailedError. Closing the iterator early cancels as well.
    A Ray session must be open unless tasks is 0 (ConfigError).
    """
    if tasks < 0:
        raise ConfigError(f"tasks must be 0 (this process) or the number to run at a time, found {tasks}.")
    if tasks == 0:
        return _here(fn, items, setup, label)
    session = current()
    if session is None:
        raise ConfigError("map_shards with tasks > 0 needs Ray: open lsr.cluster.session.ray_session around it.")
    at_once = min(tasks, max(len(items), 1)) if setup else 1
    require(session, cpus=cpus * at_once, gpus=gpus * at_once, purpose=f"A map with {at_once} workers at a time")
    pool = _Actors(fn, setup, at_once, cpus, gpus, retries) if setup else _Tasks(fn, tasks, cpus, gpus, retries)
    return _spread(pool, items, label)


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


class _Tasks:
    """Ray tasks: any process may take any item."""

    def __init__(self, fn: Callable[..., Any], tasks: int, cpus: float, gpus: float, retries: int) -> None:
        import ray

        def call(item: Any) -> Any:
            return _translated(fn, item)

        self.slots: deque[Any] = deque([ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries)(call)] * tasks)

    def start(self, slot: Any, item: Any) -> Any:
        return slot.remote(item)

    def stop(self, running: Sequence[Any]) -> None:
        import ray

        for ref in running:
            with suppress(Exception):
                ray.cancel(ref, force=True)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_CANCEL_SECONDS, fetch_local=False)


class _Actors:
    """A pool of Ray actors, each with its own state, each doing one item at a time."""

    def __init__(
        self, fn: Callable[..., Any], setup: Setup, tasks: int, cpus: float, gpus: float, retries: int
    ) -> None:
        import ray

        class Holder:
            def __init__(self) -> None:
                # An exception here would reach the caller as an actor that died, without its sentence.
                self.call, self.fault = None, None
                try:
                    self.call = _caller(fn, setup)
                except Exception as error:
                    self.fault = fault_of(error)

            def work(self, item: Any) -> Any:
                if self.fault is not None:
                    raise self.fault
                return _translated(self.call, item)

        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": retries, "max_task_retries": retries}
        kind: Any = ray.remote(**options)(Holder)
        self.slots = deque(kind.remote() for _ in range(tasks))
        self._actors = list(self.slots)

    def start(self, slot: Any, item: Any) -> Any:
        return slot.work.remote(item)

    def stop(self, running: Sequence[Any]) -> None:
        import ray

        for actor in self._actors:
            with suppress(Exception):
                ray.kill(actor)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_CANCEL_SECONDS, fetch_local=False)


def _spread(pool: _Tasks | _Actors, items: Sequence[Any], label: Callable[[Any], str]) -> Iterator[tuple[int, Any]]:
    import ray

    waiting = deque(enumerate(items))
    running: dict[Any, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and pool.slots:
                index, item = waiting.popleft()
                slot = pool.slots.popleft()
                running[pool.start(slot, item)] = (index, slot)
            (ref,), _ = ray.wait(list(running), num_returns=1)
            index, slot = running.pop(ref)
            try:
                result = ray.get(ref)
            except Exception as error:
                raise _named(_cause(error), index, items[index], label) from error
            pool.slots.append(slot)
            yield index, result
    finally:
        pool.stop(list(running))


def _translated(call: Callable[[Any], Any] | None, item: Any) -> Any:
    assert call is not None
    try:
        return call(item)
    except Exception as error:
        raise fault_of(error) from error


def _cause(error: Exception) -> Exception:
    """The worker's own exception inside what Ray raised; a process that died says so in one line."""
    from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

    if isinstance(error, RayTaskError) and isinstance(error.cause, WorkerError):
        return error.cause
    if isinstance(error, RayActorError | WorkerCrashedError):
        return RunFailedError("its worker process died again and again (killed, or out of memory).")
    return error


def _named(error: Exception, index: int, item: Any, label: Callable[[Any], str]) -> LsrError:
    text = label(item)
    text = text if len(text) <= _LABEL_CHARS else f"{text[:_LABEL_CHARS]}..."
    fault = fault_of(error)
    raised = rebuild(fault, "")
    return type(raised)(f"Item {index} ({text}): {raised}")
