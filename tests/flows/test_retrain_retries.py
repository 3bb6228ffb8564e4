"""Which failures of a stage the flow tries again by itself."""

from __future__ import annotations

import pytest

from flows.retrain import _worth_a_retry
from lsr.core.errors import ConfigError, InputError, RunFailedError, StoreError, TrainingStoppedError


class State:
    """A finished task run, as Prefect hands it to the condition."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def result(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StoreError("The store is away."), True),
        (TrainingStoppedError("The run saved its state after step 3 of 9."), True),
        (RunFailedError("Loss is NaN."), False),
        (InputError("No image."), False),
        (ConfigError("lr must be above 0."), False),
        (KeyboardInterrupt(), False),
        (None, False),
    ],
)
def test_what_passes_by_itself_is_tried_again(error: BaseException | None, again: bool) -> None:
    assert _worth_a_retry(None, None, State(error)) is again
