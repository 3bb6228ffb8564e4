"""SIGTERM as a wish to stop: in the main thread and beside it, in this process and in Ray's workers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.encoding import png
from lsr.core.errors import TrainingStoppedError
from lsr.core.refs import Ref
from lsr.core.stopping import stop_on_sigterm
from lsr.data.manifest import Manifest
from lsr.engine.table import request_of, stage_named
from lsr.recipes import load_recipe
from lsr.recipes.run import Run, TrainRun
from lsr.stages.autoencoder import work
from lsr.store import open_store
from lsr.training.config import Cadence

SMALL = {
    "autoencoder.model.channels": "8",
    "autoencoder.model.multipliers": "[1, 2]",
    "autoencoder.train.batch": "4",
    "autoencoder.train.images": "1600",
}
RUN = Run(name="test", train=TrainRun(workers=2, every=Cadence(checkpoint=100_000)))


def soon(is_so: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


@pytest.mark.parametrize("beside", [False, True])
def test_a_signal_sets_the_wish_and_the_old_handler_comes_back(beside: bool) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    mine = signal.getsignal(signal.SIGTERM)

    def enter() -> bool:
        with stop_on_sigterm() as wished:
            assert soon(lambda: signal.getsignal(signal.SIGTERM) is not mine, 10)
            assert not wished()
            os.kill(os.getpid(), signal.SIGTERM)
            return soon(wished, 10)

    try:
        if beside:
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(enter)
                assert soon(future.done, 20)
                assert future.result()
        else:
            assert enter()
        assert soon(lambda: signal.getsignal(signal.SIGTERM) is mine, 10)
        assert heard == []
    finally:
        signal.signal(signal.SIGTERM, before)


def request_and_config(folder: Path, tag: str) -> dict[str, Any]:
    """What a worker of stage *autoencoder* is given, on 64 tiles of noise."""
    store = open_store(f"file://{folder}/store")
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(64)]
    samples = [Sample(f"{n:03d}", "p", "train", 16, 16, {"png": png(tile)}) for n, tile in enumerate(tiles)]
    row = store_shard(store, *write_tar(samples))
    manifest = Manifest(
        kind="tiles", name="t", parents={}, made_by={}, shards=(row,), counts={"samples": 64}, extra={"size": 16}
    )
    path = f"{manifest.directory}/{manifest.digest}.json"
    store.write(path, manifest.to_bytes())
    tile = Ref(kind="tiles", key=tag, digest=manifest.digest, path=path)
    request = request_of(stage_named("autoencoder"), load_recipe("short-generate", SMALL), RUN, {"tile": tile})
    return {
        "request": {**asdict(request), "key": tag * 64},
        "store": store.uri,
        "cache": str(folder / "cache"),
        "tracking": "",
        "run": "",
        "fencing": 1,
        "submission": "",
        "ids": {},
        "siblings": [],
        "progress": f"{tag}.json",
    }


def train_workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_preempted_worker_saves_after_its_step_and_the_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    """One of two workers is told to end. With a restart left the run continues by itself, without one it says so."""
    from lsr.cluster.session import ray_session
    from lsr.cluster.train import fit

    def run(tag: str, max_failures: int = 0, preempt: bool = False) -> dict[str, Any]:
        config = request_and_config(tmp_path, tag)
        progress = tmp_path / "store" / config["progress"]

        def terminate_one() -> None:
            assert soon(lambda: progress.exists() and json.loads(progress.read_text())["done"] >= 10, 120)
            train_workers()[-1].terminate()

        thread = threading.Thread(target=terminate_one)
        if preempt:
            thread.start()
        try:
            return fit(
                work,
                config,
                workers=2,
                name=f"{tag}{max_failures}",
                storage=str(tmp_path / "ray-train"),
                max_failures=max_failures,
                temp=tmp_path,
            )
        finally:
            if preempt:
                thread.join()

    with ray_session(tmp_path, cpus=4):
        whole = run("a")
        assert whole["resumed_from"] == []
        again = run("b", max_failures=1, preempt=True)
        with pytest.raises(TrainingStoppedError, match=r"was asked to stop and saved its state after step \d+ of 400"):
            run("c", preempt=True)
        later = run("c", max_failures=1)
    for result in (again, later):
        assert [0 < one["step"] < 400 and not one["note"] for one in result["resumed_from"]] == [True]
        assert result["weights"] == whole["weights"]
