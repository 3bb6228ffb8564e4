"""Killed with SIGKILL at random moments and run again: the same bits as a run that was never killed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from lsr.store import open_store
from lsr.training.checkpoints import Checkpoints
from lsr.training.config import Cadence, TrainConfig
from tests.training.processes import WAIT, fit_here, outcomes, started

CONFIG = TrainConfig(images=240 * 15, batch=15)
HOW = (CONFIG, Cadence(log=40, checkpoint=20), 2)
"""How every run trains: 15 images in micro-batches of 2, which neither any world size nor the micro-batch divides."""
KILLS = 6


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 4])
def test_kill_9_at_any_moment(tmp_path: Path, size: int) -> None:
    """Kills fall anywhere between the start of the processes and the end of the run. Every second time only one rank
    is killed, and the others must end by themselves. A run that was faster than its kill is compared, and the next
    kill meets a new one.
    """
    store = f"file://{tmp_path}/store"
    began = time.monotonic()
    whole = outcomes(fit_here, size, tmp_path / "whole", store, "whole", 1, *HOW)[0]
    duration = time.monotonic() - began
    choose = random.Random()
    key = "killed-0"
    for kill in range(1, KILLS + 1):
        moment = choose.uniform(0, duration)
        folder = tmp_path / f"kill-{kill}"
        with started(fit_here, size, folder, store, key, kill, *HOW) as processes:
            time.sleep(moment)
            for process in processes if kill % 2 else [choose.choice(processes)]:
                process.kill()
            for process in processes:
                process.join(WAIT)
                assert process.exitcode is not None, "a surviving rank hangs"
        found = Checkpoints(open_store(store), key, kill).newest()
        print(f"world {size}, kill {kill} at {moment:.2f} of {duration:.2f} s: step {found[0].step if found else 0}")
        if found is not None and found[0].step == CONFIG.steps:
            assert outcomes(fit_here, size, tmp_path / f"again-{kill}", store, key, kill + 1, *HOW)[0] == whole
            key = f"killed-{kill}"
    assert outcomes(fit_here, size, tmp_path / "last", store, key, KILLS + 2, *HOW)[0] == whole
