"""One function as a process group: Ray Train runs it in every worker, with torch.distributed ready.

Ray carries the function, its config and one small result. Weights and checkpoints go wherever the function puts them.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lsr.cluster.capacity import wait_for_room
from lsr.cluster.faults import WorkerError, fault_of, is_final, rebuild
from lsr.cluster.interrupts import sigterm_heard
from lsr.cluster.session import ray_session
from lsr.core.errors import ConfigError, RunFailedError
from lsr.core.resources import Resources

if TYPE_CHECKING:
    import torch

Worker = Callable[[dict[str, Any], int, int], dict[str, Any] | None]

# Read by Ray Train in the driver, its controller and its workers.
_VARIABLES = {
    "RAY_TRAIN_V2_ENABLED": "1",
    # The controller polls its workers this often; the default of 2 s delays every end and every restart.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Relative paths in a config mean the same in a worker as in the driver.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def fit(
    worker: Worker,
    config: dict[str, Any],
    *,
    workers: int,
    needs: Resources | None = None,
    name: str,
    storage: str,
    max_failures: int = 0,
    start_within: float = 900.0,
    temp: Path,
) -> dict[str, Any]:
    """Run `worker(config, rank, world_size)` in `workers` processes; returns what rank 0 returned.

    needs: what each worker reserves, one CPU by default. start_within: seconds that the group may wait for it, now and
    after a restart. The group is NCCL where the workers have GPUs, else gloo. The returned dictionary is small and made
    of JSON values; `workers` is added to it: `[{"rank", "pid", "node"}]` of the group that finished. workers=0 runs the
    worker in this process, as rank 0 of 1, without Ray and without a group. worker must be importable in other
    processes.

    name, storage: the run's folder for Ray's own bookkeeping, `storage/name`; a path, `file://` or `s3://` that every
    node reaches. max_failures: how often the group is started again after a death or an unforeseen exception; the
    worker then resumes by its own checkpoints. temp: folder that records a Ray started for this run alone.

    Raises ConfigError where a local Ray can never hold the group, RunFailedError where a cluster did not in time; the
    worker's own error, if typed, or RunFailedError with the first cause. A typed error that trying again
    cannot fix (a bad config, bad input) ends the run at once. Ctrl-C and SIGTERM end the group before they continue.
    """
    if workers == 0:
        return _in_process(worker, config, name)
    needs = needs or Resources()
    with _variables(start_within), ray_session(home=temp) as session, _interruptible():
        wait_for_room(session, needs, workers, within=start_within, what=f"Run {name} with {workers} workers")
        trainer = _trainer(worker, config, workers, needs, name=name, storage=storage, failures=max_failures)
        return _result(trainer, name)


def worker_device(gpus: float) -> torch.device:
    """Where a worker that reserved `gpus` trains: the GPU that Ray gave it, or the CPU where it asked for none.

    Raises ConfigError for a GPU that torch does not see: training on the CPU instead would take weeks without a word.
    """
    import torch

    if not gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise ConfigError(
            f"The run gives each training worker {gpus:g} GPU and torch {torch.__version__} sees none here "
            f"(CUDA_VISIBLE_DEVICES={visible!r}); install a build of torch with CUDA, or set train.worker.gpus=0."
        )
    from ray.train.torch import get_device

    device: torch.device = get_device()
    return device


def group_backend(gpus: float) -> str:
    """How workers that reserved `gpus` each exchange gradients."""
    return "nccl" if gpus else "gloo"


def _in_process(worker: Worker, config: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        result = worker(config, 0, 1) or {}
    except Exception as error:
        raise rebuild(fault_of(error), f"Run {name} failed: ") from error
    return {**_plain(result), "workers": [_me(0)]}


def _trainer(
    worker: Worker,
    config: dict[str, Any],
    workers: int,
    needs: Resources,
    *,
    name: str,
    storage: str,
    failures: int,
) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    return TorchTrainer(
        _group_member(worker, needs.gpus),
        train_loop_config=config,
        torch_config=TorchConfig(backend=group_backend(needs.gpus)),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=needs.gpus > 0, resources_per_worker={"CPU": 0, **needs.as_ray()}
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage.removeprefix("file://"),
            # Ray's own default tries for ever to start a group that finds no room.
            failure_config=FailureConfig(max_failures=failures, controller_failure_limit=failures),
            callbacks=[_stop_on_final()],
        ),
    )


def _group_member(worker: Worker, gpus: float) -> Callable[[dict[str, Any]], str]:
    """What runs in each process: the worker between rank lookup and the translation of its result or error."""

    def member(config: dict[str, Any]) -> str:
        import torch
        from ray import train

        context = train.get_context()
        rank, size = context.get_world_rank(), context.get_world_size()
        try:
            device = worker_device(gpus)
            if device.type == "cuda":
                torch.cuda.set_device(device)
            group: list[Any] = [None] * size
            torch.distributed.all_gather_object(group, _me(rank))
            result = worker(config, rank, size) or {}
            return json.dumps({**_plain(result), "workers": group}) if rank == 0 else ""
        except Exception as error:
            raise fault_of(error, rank) from error

    return member


def _stop_on_final() -> Any:
    """A callback by which a worker's typed error ends the run although restarts are left."""
    from ray.train import UserCallback

    class StopOnFinal(UserCallback):  # type: ignore[misc]
        def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
            first = _first(worker_exceptions)
            if isinstance(first, WorkerError) and is_final(first):
                raise first

    return StopOnFinal()


def _result(trainer: Any, name: str) -> dict[str, Any]:
    from ray.train import ControllerError, WorkerGroupError

    try:
        text = trainer.fit().return_value
    except WorkerGroupError as error:
        _fail(_first(error.worker_failures), name)
    except ControllerError as error:
        _fail(_root(error.controller_failure), name)
    if not isinstance(text, str):
        raise RunFailedError(f"Run {name} ended without a result of rank 0; read the Ray worker's log.")
    result: dict[str, Any] = json.loads(text)
    return result


def _fail(cause: BaseException, name: str) -> NoReturn:
    from ray.exceptions import RayActorError

    if type(cause).__name__ == "WorkerGroupStartupTimeoutError":
        raise RunFailedError(
            f"Run {name} lost workers and found no room to start them again: {str(cause).partition(' Potential')[0]} "
            "Start the run again when the nodes are back; it resumes from its last checkpoint."
        ) from cause
    if isinstance(cause, RayActorError):
        raise RunFailedError(
            f"Run {name} failed: a worker process died without a word (killed, or out of memory) and no restart is "
            "left. Start the run again to resume from its last checkpoint, with smaller batches if memory was short."
        ) from cause
    fault = fault_of(cause)
    where = f" on rank {fault.rank}" if fault.rank is not None else ""
    raise rebuild(fault, f"Run {name} failed{where}: ") from cause


def _first(failures: Mapping[int, BaseException]) -> BaseException:
    """The cause among what the ranks report: a typed error, else a process that died, else the earliest exception
    (the peers of a failed rank fail with broken connections).
    """
    return min((_root(error) for error in failures.values()), key=_precedence)


def _precedence(cause: BaseException) -> tuple[int, float]:
    if not isinstance(cause, WorkerError):
        return (1, 0.0)
    return (0 if cause.typed else 2, cause.when)


def _root(error: BaseException) -> BaseException:
    """The exception itself, below the layers that Ray puts around it."""
    for layer in ("_base_exc", "health_check_failure", "controller_failure"):
        inner = getattr(error, layer, None)
        if isinstance(inner, BaseException):
            return _root(inner)
    if not isinstance(error, WorkerError) and isinstance(error.__cause__, WorkerError):
        return error.__cause__
    return error


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """The same values after a round through JSON, so that a run in this process returns what a group would."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(result))
    except (TypeError, ValueError) as error:
        raise RunFailedError(
            f"A worker must return a small dictionary of JSON values: {error}. Put arrays and weights into the store."
        ) from error
    return plain


def _me(rank: int) -> dict[str, Any]:
    import platform

    return {"rank": rank, "pid": os.getpid(), "node": platform.node()}


@contextmanager
def _variables(start_within: float) -> Iterator[None]:
    values = {**_VARIABLES, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": f"{start_within:g}"}
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _interruptible() -> Iterator[None]:
    """An interrupt ends the group before it continues: Ctrl-C as KeyboardInterrupt, SIGTERM as the caller handles it.

    Ray Train answers SIGINT by aborting the run and leaving the interpreter, and leaves its handler installed; at
    SIGTERM it does nothing, and a session that stays open would keep the group running.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    on_interrupt = signal.getsignal(signal.SIGINT)
    with sigterm_heard() as terminated:
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as interrupt:
            if signal.getsignal(signal.SIGINT) is not on_interrupt:
                # Ray's handler ends the group; a second call, after it has run already, does nothing.
                with suppress(SystemExit):
                    signal.raise_signal(signal.SIGINT)
            if terminated():
                raise
            raise KeyboardInterrupt from interrupt
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
