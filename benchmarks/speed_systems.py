"""The systems of the speed claim at their published sizes with untrained weights, and the timing of their parts.

Runs in a process of its own, so that its peak memory is one system's at one scale: `python -m benchmarks.speed_systems
idm 8` prints one JSON. Input: one image of 16 x 16 pixels. float32, batch 1. What a sampler adds to its network calls
is a few sums over the image and is excluded.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lsr.models.baselines.build import build
from lsr.models.baselines.config import IdmConfig
from lsr.models.baselines.idm import Idm
from lsr.models.config import SystemConfig
from lsr.models.system import LatentSystem
from lsr.recipes.published import faces_x8

LR_SIDE = 16
BAND_PIXELS = 1 << 18
FEW = 3
LONG_SECONDS = 20.0
"""A part that takes longer than this is timed only FEW times."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One piece of work of an image. times: how often an image needs it; None: once a sampler step."""

    name: str
    run: Callable[[], object]
    times: float | None


def published_latent_system() -> SystemConfig:
    """System A's faces 16 -> 128: encoder and decoder of 32 latent channels, the U-Net of 411 M parameters."""
    recipe = faces_x8()
    assert recipe.denoise is not None
    assert recipe.decoder is not None
    return SystemConfig(
        autoencoder=recipe.autoencoder.model,
        renderer=recipe.decoder.renderer,
        unet=recipe.denoise.unet,
        diffusion=recipe.denoise.diffusion,
        base_scale=8,
        latent_side=32,
    )


def idm_parts(model: Idm, side: int, device: torch.device) -> list[Part]:
    """The condition and its pyramid once, the U-Net at the output's size each step."""
    lr = torch.rand(1, 3, LR_SIDE, LR_SIDE, device=device) * 2 - 1
    guide, x = model.guide(lr, (side, side)), torch.randn(1, 3, side, side, device=device)
    level = torch.tensor([0.5], device=device)
    return [
        Part(name="condition", run=lambda: model.guide(lr, (side, side)), times=1),
        Part(name="network", run=lambda: model(x, level, guide), times=None),
    ]


def latent_parts(system: LatentSystem, side: int, device: torch.device) -> list[Part]:
    """The condition once, the U-Net at the latent's size each step, the decoder's trunk once, the renderer by bands."""
    lr = torch.rand(1, 3, LR_SIDE, LR_SIDE, device=device) * 2 - 1
    cond = system.condition(lr)
    x, t = torch.randn_like(cond), torch.tensor([500], device=device)
    features = system.decoder.features(cond)
    rows = min(side, max(1, BAND_PIXELS // side))
    return [
        Part(name="condition", run=lambda: system.condition(lr), times=1),
        Part(name="network", run=lambda: system.predict(x, t, cond), times=None),
        Part(name="decoder", run=lambda: system.decoder.features(cond), times=1),
        Part(
            name=f"render, a band of {rows} rows",
            run=lambda: system.decoder.render(features, (side, side), rows=(0, rows)),
            times=side / rows,
        ),
    ]


def seconds_of(part: Part, calls: int, device: torch.device) -> list[float]:
    """Seconds of each of `calls` runs after one warm-up, of FEW where a run takes longer than LONG_SECONDS."""

    def once() -> float:
        started = time.perf_counter()
        part.run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    warm_up = once()
    return [once() for _ in range(calls if warm_up <= LONG_SECONDS else min(calls, FEW))]


def peak_mib(device: torch.device) -> float:
    """High-water mark of this process' resident memory, or of torch's memory on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # ru_maxrss would also count what the parent held before exec.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@torch.no_grad()
def measure(model: nn.Module, scale: float, calls: int, device: torch.device) -> dict[str, Any]:
    """Times and memory of one system (an Idm or a LatentSystem) at one scale, as plain data."""
    side = round(LR_SIDE * scale)
    model = model.to(device).eval()
    weights = peak_mib(device)
    parts = idm_parts(model, side, device) if isinstance(model, Idm) else latent_parts(_latent(model), side, device)
    timed = [{"name": p.name, "times": p.times, "seconds": seconds_of(p, calls, device)} for p in parts]
    return {
        "side": side,
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "weights_mib": round(weights, 1),
        "peak_mib": round(peak_mib(device), 1),
        "parts": timed,
    }


def _latent(model: nn.Module) -> LatentSystem:
    assert isinstance(model, LatentSystem)
    return model


def make(system: str) -> nn.Module:
    """The network of `idm`, `system-a` or `ours` with untrained weights. Ours has A's sizes, so the same network."""
    torch.manual_seed(0)
    return build(IdmConfig()) if system == "idm" else LatentSystem(published_latent_system())


def main() -> None:
    """Measure what the command line names and print it."""
    words = argparse.ArgumentParser()
    words.add_argument("system", choices=("idm", "system-a", "ours"))
    words.add_argument("scale", type=float)
    words.add_argument("--calls", type=int, default=20)
    words.add_argument("--device", default="cpu")
    words.add_argument("--limit-gib", type=float, default=math.inf)
    told = words.parse_args()
    device = torch.device(told.device)
    if device.type == "cpu" and math.isfinite(told.limit_gib):
        limit = int(told.limit_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        found = measure(make(told.system), told.scale, told.calls, device)
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if "memory" not in f"{type(error).__name__} {error}".lower():
            raise
        found = {"side": round(LR_SIDE * told.scale), "failed": f"out of memory: {str(error).splitlines()[0][:200]}"}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
