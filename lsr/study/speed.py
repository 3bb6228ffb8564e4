"""How long one image takes a measured system, and how much memory, in a process of its own.

`python -m lsr.study.speed` reads one JSON question on standard input and prints one JSON answer.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lsr.core.config import from_plain
from lsr.core.errors import RunFailedError
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.engine.table import MeasureConfig
from lsr.inference.config import ExecutorConfig

REPEATS = 3
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """One system at one scale. seconds: median per image. peak_mib: the highest memory of the process, or of the GPU
    where it worked on one, above what it held before the first image. parameters: of the whole system. device: `cpu` or
    `cuda`.
    """

    scale: float
    seconds: float
    peak_mib: float
    parameters: int
    device: str = "cpu"


def speed_of(request: Request, ctx: Context, side: int, scales: Sequence[float]) -> list[Speed]:
    """Measure the system that `request` (of stage *measure*) names on LR images of `side` pixels.

    Raises RunFailedError when the process fails.
    """
    from lsr.stages.measure import pretrained_path

    question = {
        "store": ctx.store.uri,
        "request": request.to_bytes().decode(),
        "pretrained": str(pretrained_path(ctx)),
        "side": side,
        "scales": list(scales),
    }
    done = subprocess.run(
        [sys.executable, "-m", "lsr.study.speed"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise RunFailedError(f"Measuring the speed of {request.config['label']} failed: {' '.join(last)}")
    return [Speed(**one) for one in json.loads(done.stdout.splitlines()[-1])]


def _reset_peak(gpu: bool) -> float:
    """Forget the highest memory in use so far; returns the present one in KiB: the GPU's where systems run on it."""
    if gpu:
        import torch

        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1024
    Path("/proc/self/clear_refs").write_text("5")
    return _field("VmRSS")


def _peak(gpu: bool) -> float:
    if gpu:
        import torch

        return torch.cuda.max_memory_allocated() / 1024
    return _field("VmHWM")


def _field(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1])


def _measure(question: dict[str, object]) -> list[Speed]:
    import torch

    from lsr.stages.evaluate import upscaler_of
    from lsr.stages.measure import executor_of
    from lsr.store import open_store

    torch.set_num_threads(1)
    request = Request.from_bytes(str(question["request"]).encode())
    config = from_plain(MeasureConfig, request.config)
    pretrained = Path(str(question["pretrained"])).read_bytes() if config.pretrained else b""
    store = open_store(str(question["store"]))
    run = from_plain(ExecutorConfig, request.run["executor"])
    executor = executor_of(store, request.inputs, config.evaluate.precision, run, pretrained)
    upscale, gpu = upscaler_of(executor, config.evaluate), executor.device.type == "cuda"
    parameters = sum(parameter.numel() for parameter in executor.network.parameters())
    side = int(str(question["side"]))
    lr = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = []
    for scale in question["scales"]:  # type: ignore[attr-defined]
        size = (round(side * scale), round(side * scale))
        before = _reset_peak(gpu)
        seconds = []
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            upscale(lr, [size])
            seconds.append(time.perf_counter() - started)
        peak = max(_peak(gpu) - before, 0) / 1024
        out.append(
            Speed(
                scale=scale,
                seconds=statistics.median(seconds[1:]),
                peak_mib=round(peak, 1),
                parameters=parameters,
                device=executor.device.type,
            )
        )
    return out


def main() -> int:
    """Answer the question on standard input."""
    print(json.dumps([asdict(one) for one in _measure(json.loads(sys.stdin.read()))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
