"""A worker's exception on its way to the caller: plain strings, so that it arrives whatever class it was."""

from __future__ import annotations

import time
import traceback

from lsr.core.errors import LeaseLostError, LsrError, RunFailedError, StoreError


class WorkerError(Exception):
    """What went wrong in another process. kind: the class's name; typed: whether it was an LsrError; when: seconds
    since the epoch in that process; trace: its traceback, for logs.
    """

    def __init__(self, kind: str, message: str, trace: str, *, typed: bool, when: float, rank: int | None) -> None:
        super().__init__(kind, message)
        self.kind, self.message, self.trace = kind, message, trace
        self.typed, self.when, self.rank = typed, when, rank

    def __str__(self) -> str:
        return self.message if self.typed else f"{self.kind}: {self.message}"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _restore, (self.kind, self.message, self.trace, self.typed, self.when, self.rank)


def fault_of(error: BaseException, rank: int | None = None) -> WorkerError:
    """The fault that carries `error`; a fault passes unchanged."""
    if isinstance(error, WorkerError):
        return error
    typed = isinstance(error, LsrError)
    # The class of a typed error is looked up by name on the other side, among those known there.
    kind = next(c.__name__ for c in type(error).__mro__ if not typed or c in known_errors().values())
    trace = "".join(traceback.format_exception(error))
    message = str(error).strip() or repr(error)
    return WorkerError(kind, message, trace, typed=typed, when=time.time(), rank=rank)


def is_final(fault: WorkerError) -> bool:
    """Whether trying again cannot fix it: typed, and neither the surroundings' fault nor a run that may go better."""
    if not fault.typed:
        return False
    cls = known_errors().get(fault.kind, LsrError)
    passing = issubclass(cls, StoreError | RunFailedError) and not issubclass(cls, LeaseLostError)
    return not passing


def rebuild(fault: WorkerError, prefix: str) -> LsrError:
    """The error to raise here: the worker's own type where it was typed, else RunFailedError.

    A typed sentence already names its thing and is kept as it is; others get `prefix` in front.
    """
    if fault.typed:
        return known_errors().get(fault.kind, RunFailedError)(fault.message)
    return RunFailedError(f"{prefix}{fault}")


def known_errors() -> dict[str, type[LsrError]]:
    """The error classes of lsr.core.errors by name; others may need other arguments than a message."""
    found: dict[str, type[LsrError]] = {}
    classes: list[type[LsrError]] = [LsrError]
    for cls in classes:
        if cls.__module__ == LsrError.__module__:
            found[cls.__name__] = cls
        classes.extend(cls.__subclasses__())
    return found


def _restore(kind: str, message: str, trace: str, typed: bool, when: float, rank: int | None) -> WorkerError:
    return WorkerError(kind, message, trace, typed=typed, when=when, rank=rank)
