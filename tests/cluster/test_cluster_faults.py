"""A worker's error reaches the caller with its type and its sentence, whatever class it was."""

from __future__ import annotations

import pickle

import pytest

from lsr.cluster.faults import WorkerError, fault_of, is_final, rebuild
from lsr.core.errors import (
    ConfigError,
    InputError,
    LeaseLostError,
    LsrError,
    RunFailedError,
    StoreError,
    TrainingStoppedError,
)


class OddError(InputError):
    """A subclass that no message alone can build, and that pickle could not bring back."""

    def __init__(self, path: str, reason: int) -> None:
        super().__init__(f"{path} is unusable ({reason}).")


def travelled(error: Exception) -> WorkerError:
    fault = pickle.loads(pickle.dumps(fault_of(error, rank=1)))  # noqa: S301, as Ray does between our processes
    assert isinstance(fault, WorkerError)
    return fault


def test_a_typed_error_keeps_type_and_sentence() -> None:
    raised = rebuild(travelled(StoreError("Bucket b is gone.")), "Run x failed: ")
    assert type(raised) is StoreError
    assert str(raised) == "Bucket b is gone."


def test_a_stopped_training_run_arrives_as_such() -> None:
    raised = rebuild(travelled(TrainingStoppedError("Saved after step 3.")), "Run x failed: ")
    assert type(raised) is TrainingStoppedError
    assert str(raised) == "Saved after step 3."


def test_a_subclass_with_other_arguments_arrives_as_its_nearest_known_class() -> None:
    raised = rebuild(travelled(OddError("a.png", 7)), "")
    assert type(raised) is InputError
    assert str(raised) == "a.png is unusable (7)."


def test_a_foreign_error_becomes_run_failed_and_names_its_class() -> None:
    fault = travelled(KeyError("lr"))
    raised = rebuild(fault, "Run x failed on rank 1: ")
    assert type(raised) is RunFailedError
    assert str(raised) == "Run x failed on rank 1: KeyError: 'lr'"
    assert fault.rank == 1
    assert "KeyError" in fault.trace


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (ConfigError("a"), True),
        (OddError("a", 1), True),
        (LeaseLostError("another writer"), True),
        (StoreError("a moment"), False),
        (RunFailedError("a process died"), False),
        (TrainingStoppedError("saved after step 3"), False),
        (LsrError("?"), True),
        (RuntimeError("CUDA out of memory"), False),
    ],
)
def test_only_what_trying_again_cannot_fix_is_final(error: Exception, final: bool) -> None:
    assert is_final(travelled(error)) is final
